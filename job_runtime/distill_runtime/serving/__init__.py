"""Serving the student to its own evaluation: how a stage follows the server beside it, and a server of our own.

Ours is an OpenAI-compatible server over MindFormers, on the loopback interface. It computes the whole sequence anew
for every token, because MindSpore's key-value cache has kernels for NPUs only. That serves short answers of small
models, as in the example, at the price of a small program that is the same everywhere. Long chains of thought of large
models want MindIE or vLLM-Ascend; `limits` refuses them here.

* `network`: the model, as a function from sequences of tokens to the next token's logits. Imports MindSpore.
* `sampling`: from logits to a token (pure).
* `batching`: many requests in one batch, each entering and leaving when it likes.
* `application`: the HTTP side.
* `server`: the process: `python -m distill_runtime.serving.server`.
* `limits`: what it can be asked (pure). Imported by the stage.
* `teacher`: a teacher on the volume, served beside `generate`. Imported by that stage.
* `beside`: how a stage waits for the server beside it, whichever it is, and notices its ends. Imported by stages.
"""
