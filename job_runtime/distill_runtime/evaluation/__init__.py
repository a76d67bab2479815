"""What the eval stage is made of, besides the client, the verifiers and its own server.

* `asking`: asks the student what is missing.
* `judging`: gives answers their verdicts as they come.
* `training_data`: the rows that the student was trained on; `training_prompt`: what they had as system prompt.
* `overlap`: the problems that these rows share words with, and the score without them.
* `unfinished`: tells reasoning that was cut off from an answer.
* `interval`: confidence intervals of a share.
* `score`: a benchmark's samples, judged and counted.
* `estimates`: standard errors, pass@k, maj@k, the smallest difference that could be shown.
* `grouping`, `breakdown`: the score by columns of the benchmark and by the length of answers.
* `fingerprint`: what another score has to share to be compared.
* `differences`: of two scores, with interval and p-value.
* `comparing`, `gate`: an evaluation beside others, and held against its gate.
* `summarising`: puts all that together.
* `summary`: all that an evaluation found, as one file.
* `summary_report`: the summary as the report that people read; `flips`: answers to what two evaluations differ about.
* `evaluated`: the scored evaluation as one value; `outputs` makes a page, a model card's text and the files of other
  tools of it, among them `inspect_log` and `published`.
"""
