"""A stage as a process: from its contract to its exit code, its progress over HTTP, its child processes and signals.

May import `storage`, `foundation` and the contract.
"""
