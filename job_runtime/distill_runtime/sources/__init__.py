"""Tables of rows, wherever they are and whatever format they have, read as a stream.

* `layout`: which files of a data set make up a subset and a split.
* `files`, `remote`, `hub`: which files a URI means, and how one is opened; on the volume, at a URL, on the hub.
* `fingerprint`: what the content of a source is told by.
* `formats`: how each format is read; a new one is a class and a line there.
* `table`: the files of a URI as one table with known columns.
* `problems`: what a row asks, by the columns, the template and the choices that a source names; `choices`, `values`.
* `prompts`: a table of problems with reference answers, checked, without duplicates, by shard.

pyarrow, fsspec and huggingface_hub are imported only when a URI needs them.
"""
