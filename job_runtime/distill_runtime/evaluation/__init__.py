"""What the eval stage is made of, besides the client, the verifiers and its own server.

* `asking`: asks the student what is missing.
* `interval`: the confidence interval of a share.
* `judging`: gives answers their verdicts as they come.
* `score`: counts, rates and the score of a benchmark's samples.
"""
