"""Reports on a data set for people: report.json and report.html in the artifact, the same content in both.

* `report`: what a report is made of, and how it is written.
* `page`: the HTML page, which needs no network.
* `lengths`: histograms of lengths.
"""
