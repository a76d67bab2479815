"""Import what an image's code imports: `python imports.py IMAGE`. An image that lacks any of it is not built.

Nor is one that has another version of something than requirements.txt beside this file pins, as MindFormers and
MindSpore, however it came to be found first.

So a base image, an architecture or a mirror that brings something else is found at the build, not in a Pod. And Python
writes the bytecode that it cannot write on a read-only root; for all else in the runtime image it would take some
150 MB more, and is compiled in memory when it is wanted.
"""

import importlib
import importlib.metadata
import sys
from pathlib import Path

MODULES = {
    "operator": (
        "aiohttp.web",
        "kopf",
        "kubernetes.aio",
        "orjson",
        "prometheus_client",
        "pydantic.alias_generators",
        "pydantic.config",
        "pydantic.fields",
        "pydantic_core",
        "uvloop",
        "yaml",
    ),
    "runtime": (
        "aiohttp.web",
        "datasets",
        "fsspec.asyn",
        "fsspec.implementations.arrow",
        "fsspec.implementations.http",
        "huggingface_hub.errors",
        "jinja2.sandbox",
        "math_verify",
        "mindformers.core.context.build_context",
        "mindformers.core.context.validators",
        "mindformers.core.lr",
        "mindformers.core.optim",
        "mindformers.core.parallel_config",
        "mindformers.models.llama",
        "mindformers.models.qwen3",
        "mindformers.parallel_core.transformer_config_utils",
        "mindformers.tools.check_rules",
        "mindformers.tools.register.register",
        "mindformers.tools.register.template",
        "mindformers.trainer",
        "mindformers.utils",
        "mindspore._c_expression",
        "mindspore.common",
        "mindspore.communication",
        "mindspore.dataset",
        "mindspore.parallel._auto_parallel_context",
        "mindspore.train",
        "numpy.typing",
        "orjson",
        "pandas",
        "pyarrow.compute",
        "pyarrow.dataset",
        "pyarrow.fs",
        "pyarrow.ipc",
        "pyarrow.parquet",
        "pydantic.alias_generators",
        "pydantic.fields",
        "safetensors.numpy",
        "tensorboardX.event_file_writer",
        "tensorboardX.proto.event_pb2",
        "tensorboardX.proto.summary_pb2",
        "tiktoken",
        "tokenizers",
        "transformers.models.auto.tokenization_auto",
        "transformers.models.qwen2.tokenization_qwen2_fast",
        "uvloop",
        "yaml",
    ),
    "teacher": ("aiohttp.web", "tokenizers"),
}
"""By image; to import a module is to import the packages that it is in."""


def other_versions(requirements: Path) -> list[str]:
    """Say what is installed in another version than `name==version` asks for; local builds of one count as that."""
    pins = (line.split("==") for line in requirements.read_text().splitlines() if "==" in line)
    found = ((name, importlib.metadata.version(name), pinned) for name, pinned in pins)
    return [
        f"{name} {version} instead of {pinned}"
        for name, version, pinned in found
        if version.partition("+")[0] != pinned
    ]


def main(image: str) -> None:
    """Check versions and import everything; what a library raises while it starts ends the build."""
    if others := other_versions(Path(__file__).with_name("requirements.txt")):
        raise SystemExit(f"this image has other versions than its code is tested with: {', '.join(others)}")
    sys.dont_write_bytecode = False
    for module in MODULES[image]:
        importlib.import_module(module)


if __name__ == "__main__":
    main(sys.argv[1])
