"""Pure functions from a spec and an observation to desired children and status: no clock, network or globals.

* `stages` says what a stage is; `dataset`, `finetune` and `evaluation` say which stages each kind has.
* `buckets` sorts Jobs and Pods by whose they are and how they stand, before anything is decided.
* `attempts` decides which attempt of a stage goes on, has ended or is to be started; `following` says how an active one
  does, `restarts` counts failures, `leftovers` knows what is in the way of a start.
* `pipeline` decides which stage is next; `failures` and `obstacles` put what Kubernetes says of Pods into plain words.
* `reports` reads what Pods say, `merging` puts it together.
* `manifests` builds the Jobs and Services of an attempt.
* `status` summarises into conditions and figures; `events` says which changes a person wants to know.
"""
