"""Fine-tuning with MindSpore and MindFormers: the layer of the stages msrun and export.

Told apart by the process that a module runs in:

* the stage's, without MindSpore. Pure: `architecture`, `qwen3` (its keys), `schedule`, `configuration`, `overrides`,
  `weight_names`, `weight_layout` (what the network's weights are made of), `memory` (what a device needs), `stall`
  (whether training hangs). Files: `tensors` (safetensors by their headers), `woven` (in pieces), `checkpoints`,
  `training_log`, `attempt_log`, `assignment`, `stopping` (the workers' agreement on when to). Checks: `inputs`,
  `divisions`, `claim`, `devices`, `findings` (of `yaml_check`), `looking_ahead` (all of them before a device is
  touched). Work: `attempt` (where it starts, what came of it), `waiting` (of nodes for each other), `node_training` (a
  node's part), `launcher` (worker processes), `step_progress`, `graceful_stop`, `causes` and `cann_errors` (why they
  failed), `best` (which checkpoint has the lowest loss), `export`, `completion` (the artifact), `export_progress`. Seen
  by people: `throughput` (real tokens and MFU), `saving` (the last checkpoint), `live_report`, `tensorboard`.
* a worker's, one a device: `worker`, `versions`, `worker_environment`, `monitor`, `patching`, `cpu_patches`.
* the scheduler's, of a run with several workers: `scheduler`.
* one that puts the workers' parts of the weights together: `unify`.
* one in which MindFormers looks at the YAML before anything starts: `yaml_check`, `yaml_names`.

They meet in files: a worker reads the YAML and the assignment that the stage wrote, and writes checkpoints and the
training log.
"""
