"""Fine-tuning with MindSpore and MindFormers: the msrun stage's own layer.

Three groups of modules, told apart by the process they run in:

* in the stage's process, without MindSpore: `architecture`, `schedule`, `configuration` (pure), `tensors`, `weights`
  (safetensors files), `inputs` (checks), `checkpoints`, `launcher`, `training_log`, `export`;
* in a worker's process, one a device: `worker`, `monitor`, `cpu_patches`;
* in the scheduler's process of a run with several workers: `scheduler`.

They meet in files: the worker reads the YAML that the stage wrote, and writes checkpoints and the training log.
"""
