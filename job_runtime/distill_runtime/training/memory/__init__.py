"""How much memory a device needs for a run, before one is held.

    plan        what of the MindFormers YAML decides it
    recompute   which layers a stage of the pipeline computes again
    estimate    bytes per device, item by item
    fitting     the nearest parallelism that fits a device
    check       the refusal of a run that does not fit, in words

Functions of values, without MindSpore. The msrun stage imports `check`; only that imports other modules of training.
"""
