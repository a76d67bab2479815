"""What the generate stage is made of, besides the client.

* `asking`: asks what is missing until it is settled, a budget is spent, or it is of no use to go on.
* `changed_prompts`: refuses to go on where answers are no longer to the rows that are there.
* `forecast`: judges a sample of the answers as they arrive; loaded only where the contract says how.
* `teachers`: who answers which generation, and several clients at once.
* `progress`: what the stage says while it asks.
"""
