"""The job runtime: the eight programs that run inside npu-distill's Pods.

`python -m distill_runtime generate|filter|select|pack|msrun|export|eval|compare --contract FILE` runs one stage, in a
Pod or on a laptop. `distill_runtime.contract` is what the operator and the runtime share; nothing else here may be
imported by the operator, and nothing here imports the operator.
"""
