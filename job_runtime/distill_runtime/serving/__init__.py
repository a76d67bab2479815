"""Serving the student to its own evaluation: an OpenAI-compatible server over MindFormers, on the loopback interface.

* `network`: the model, as a function from sequences of tokens to the next token's logits. Imports MindSpore.
* `sampling`: from logits to a token (pure).
* `batching`: many requests in one batch, each entering and leaving when it likes.
* `application`: the HTTP side.
* `server`: the process: `python -m distill_runtime.serving.server`.
* `process`: how the eval stage starts it and notices its death. Imported by the stage, like nothing else here.
"""
