"""Asking OpenAI-compatible endpoints many things at once, losing nothing: for the teacher and for evaluation alike.

* `values`: a request and what comes of it, an answer or a failure for good.
* `http`, `completion`, `stream`, `chat`: HTTP to one server, an answer read, one put together from a stream, one
  exchange with an endpoint.
* `trouble`: what can go wrong in an exchange, and what each kind calls for.
* `endpoint`, `endpoints`: one server; which takes the next request, how many at once, and which are failing.
* `probes`: asking endpoints something trivial, to tell whether they answer at all.
* `failures`: whose fault a failure is: the request's or the endpoints'.
* `concurrency`: how many requests at once an endpoint can make use of.
* `ask`: the client: workers that take requests off one iterator until each has its outcome.
* `journal`, `adoption`: outcomes on disk, one a line, found again after any crash or with another number of
  shards, and told from outcomes of rows that are others now.
* `served_model`: which model an endpoint serves, as far as it tells.
* `output_cap`: noticing that a server cuts answers by itself.
"""
