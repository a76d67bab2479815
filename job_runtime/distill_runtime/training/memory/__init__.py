"""How much memory a device needs for a run, before one is held.

    plan        what of the MindFormers YAML decides it
    recompute   which layers a stage of the pipeline computes again
    estimate    bytes per device, item by item
    fitting     the nearest parallelism that fits a device

Pure functions of values. Imported by the msrun stage; imports the configuration's keys and nothing of MindSpore.
"""
