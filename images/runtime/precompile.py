"""Import what the stages import, so that Python writes the bytecode that it cannot write on a read-only root.

Everything else in the image would take some 150 MB more and is compiled in memory when it is wanted.
"""

import importlib
import sys

MODULES = (
    "aiohttp.web",
    "datasets",
    "fsspec.implementations.http",
    "jinja2.sandbox",
    "math_verify",
    "mindformers",
    "mindformers.core.context",
    "mindformers.trainer",
    "mindspore",
    "mindspore.communication",
    "mindspore.dataset",
    "orjson",
    "pandas",
    "pebble",
    "pyarrow.dataset",
    "pyarrow.parquet",
    "safetensors.numpy",
    "tiktoken",
    "tokenizers",
    "transformers.models.qwen2.tokenization_qwen2_fast",
    "uvloop",
)

sys.dont_write_bytecode = False
for module in MODULES:
    importlib.import_module(module)
