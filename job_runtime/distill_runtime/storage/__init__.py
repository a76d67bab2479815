"""The volume: paths on it, artifacts that are written whole or not at all, work that a later Pod goes on with.

* `volume`, `artifact`, `resumable`: these three.
* `fingerprints`: what the content of files is told by, and what has changed.
* `inputs`: what becomes of work whose inputs have changed.

May import `foundation` and the contract.
"""
