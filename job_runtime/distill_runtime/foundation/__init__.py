"""What everything else may import: the tree of errors, what a row is called, where reasoning ends, how many CPUs.

May import the contract and the standard library.
"""
