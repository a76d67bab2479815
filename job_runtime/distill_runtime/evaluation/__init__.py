"""Evaluation: from verdicts to a score that can be trusted. Pure functions.

* `interval`: the confidence interval of a share.
* `score`: counts, rates and the score of a benchmark's samples.
"""
