"""Pure functions from a spec and an observation to desired children and status: no clock, network or globals.

* `stages` says what a stage is; `dataset`, `finetune` and `evaluation` say which stages each kind has.
* `pipeline` decides what is next; `failures` puts what Kubernetes says of Pods into plain words.
* `manifests` builds the Jobs, ConfigMaps and Services of an attempt.
* `status` summarises into conditions and figures; `events` says which changes a person wants to know.
"""
