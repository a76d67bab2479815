"""What the eval stage is made of, besides the client, the verifiers and its own server.

* `asking`: asks the student what is missing.
* `interval`: the confidence interval of a share.
* `score`: counts, rates and the score of a benchmark's samples.
* `summary`: all that an evaluation found, as one file.
"""
