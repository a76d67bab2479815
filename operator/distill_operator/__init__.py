"""The operator: reconciles DistillDatasets, FinetuneRuns and EvalRuns into Jobs, and says how they are doing.

Layers, each importing only those below it (checked by `make check`):

* `handlers`: kopf's events in, keys into a queue. The only module that imports kopf.
* `reconcile`: one object: observe, plan, apply, report. `sweep`: what was deleted unnoticed leaves the store.
* `store`: what the watches have said there is.
* `cluster`, `progress`: the edges to the API server and to the stage Pods. `cluster` alone imports kubernetes.
* `plan`: pure functions from spec and observation to desired children and status.
* `api`: the custom resources as pydantic models, from which crds/ is generated.
"""
