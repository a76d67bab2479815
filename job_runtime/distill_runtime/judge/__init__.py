"""A judge: a model that is asked about the answers which a verifier does not accept; for filter and eval alike.

* `questions`: from a problem, its reference answer and an answer to what the judge is asked.
* `asking`: asking it, with the same client and the same kind of journal as a teacher or a student.
* `verdicts`: what its replies come to.
* `agreement`: what it says beside what the verifier says, counted.
"""
