"""The seven stages, one module each, with the functions that `distill_runtime.process.stage` describes.

A stage's module reads its contract, puts the packages below it together and says what came of it; it is loaded only
when it is run. Nothing imports from here.
"""
