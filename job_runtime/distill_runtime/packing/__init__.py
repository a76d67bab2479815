"""Packing: from conversations to the fixed-length sequences that MindFormers trains on.

* `chat`: a conversation as the tokenizer's chat template writes it, in two parts: what is given, what is learned.
* `tokens`: a tokenizer loaded from HuggingFace's files, and the samples that it makes; `byte_pair` is its fast path.
* `tokenising`: from kept rows to samples, or why a row is rejected.
* `sample_store`: tokenised samples on disk, between tokenising and packing.
* `plan`: which samples share a sequence (best-fit decreasing).
* `sequences`: the packed data set, as `datasets.load_from_disk` reads it.
* `blocks`: all of these, a block of rows at a time.
* `checking`, `registering`: sequences that somebody else has packed.
* `description`: what a reader of the packed data set needs to know about it.
* `summary`: the report.
"""
