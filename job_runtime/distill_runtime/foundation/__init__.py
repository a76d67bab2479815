"""What everything else may import: the tree of errors, what a row is called, where reasoning ends, how many CPUs,
what a text is told from another by, which runs of words it has.

May import the contract and the standard library.
"""
