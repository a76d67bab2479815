"""Reports for people.

* `report`: what a report on a data set is made of, and how it is written: report.json and report.html in the artifact,
  the same content in both.
* `page`: the HTML page, which needs no network.
* `lengths`: histograms of lengths.
* `training`: the report on a training, made of `curve` (a quantity over steps, thinned), `line_chart`, and `timeline`
  of its attempts.
* `evaluation`: the report on an evaluation, made of `forest_plot` and `samples`, and its text for a model card.
"""
