"""Fine-tuning with MindSpore and MindFormers: the msrun stage's own layer.

Told apart by the process that a module runs in:

* the stage's, without MindSpore. Pure: `architecture`, `schedule`, `configuration`, `weight_names`. Files: `tensors`
  (safetensors by their headers), `checkpoints`, `training_log`, `assignment`. Work: `inputs` (checks), `attempt` (where
  it starts, what came of it), `launcher` (worker processes), `export`.
* a worker's, one a device: `worker`, `versions`, `monitor`, `patching`, `cpu_patches`.
* the scheduler's, of a run with several workers: `scheduler`.
* one that puts the workers' parts of the weights together: `unify`.

They meet in files: a worker reads the YAML and the assignment that the stage wrote, and writes checkpoints and the
training log.
"""
