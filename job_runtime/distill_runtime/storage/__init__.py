"""The volume: paths on it, artifacts that are written whole or not at all, work that a later Pod goes on with.

May import `foundation` and the contract.
"""
