"""What the eval stage is made of, besides the client, the verifiers and its own server.

* `asking`: asks the student what is missing.
* `interval`: the confidence interval of a share.
* `judging`: gives answers their verdicts as they come.
* `evaluated`: the scored evaluation as one value; `outputs` makes a page, a model card's text and the files of other
  tools of it, among them `inspect_log` and `published`.
* `score`: counts, rates and the score of a benchmark's samples.
"""
