"""Filtering: from the teacher's generations to the rows that training may use.

* `shards`: the generate stage's artifacts, all of which must be there.
* `contamination`: which prompts are taken from a benchmark.
* `verifying`: every generation gets its verdict.
* `keys`: a few numbers a row, by which rows are chosen however many they are.
* `selection`: which of a prompt's right generations are kept.
* `release`: the kept rows as a data set for others.
* `summary`: the report.
"""
