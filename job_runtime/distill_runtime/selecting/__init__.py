"""Selecting: from the answers that the filter accepts to those that are trained on.

* `candidates`: what is known of each row, in a few numbers.
* `choice`: which rows are selected, and why the others are not.
* `summary`: the report.
"""
