"""The server's process: `python -m distill_runtime.serving.server`."""

import argparse
import asyncio
import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from aiohttp import web
from transformers.models.auto.tokenization_auto import AutoTokenizer

from distill_runtime.contract import EXIT_DONE, EXIT_WRONG_INPUT
from distill_runtime.foundation.errors import WrongInput
from distill_runtime.serving.application import ChatApplication, make_runner
from distill_runtime.serving.batching import Batcher
from distill_runtime.serving.limits import LARGEST_BATCH
from distill_runtime.training import cpu_patches, patching
from distill_runtime.training.versions import check_versions

logger = logging.getLogger(__name__)

_HOST: Final = "127.0.0.1"


class ChatTokenizer:
    """A model's tokenizer with its own chat template."""

    def __init__(self, directory: Path) -> None:
        self._tokenizer: Any = AutoTokenizer.from_pretrained(directory, local_files_only=True)

    def encode(self, messages: Sequence[dict[str, str]]) -> list[int]:
        """Write messages as the chat template does, up to where the assistant speaks, and tokenise."""
        tokens: list[int] = self._tokenizer.apply_chat_template(list(messages), add_generation_prompt=True)
        return tokens

    def decode(self, tokens: Sequence[int]) -> str:
        """Give the text of tokens, without special ones."""
        text: str = self._tokenizer.decode(tokens, skip_special_tokens=True)
        return text

    def stop_tokens(self, directory: Path) -> frozenset[int]:
        """Give the tokens that end an answer: the tokenizer's and those of generation_config.json."""
        path = directory / "generation_config.json"
        configured = json.loads(path.read_bytes()).get("eos_token_id") if path.is_file() else None
        tokens = configured if isinstance(configured, list) else [configured]
        return frozenset(token for token in (*tokens, self._tokenizer.eos_token_id) if token is not None)


def main(arguments: Sequence[str] | None = None) -> int:
    """Load the model and serve until the process is ended."""
    options = _parse(arguments)
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    try:
        check_versions()
        if options.device_target == "CPU":
            patching.install(cpu_patches.PATCHES)
        from distill_runtime.serving.network import Network  # noqa: PLC0415 - after the patches

        network = Network(options.model, options.device_target, min(options.batch_size, LARGEST_BATCH))
    except WrongInput as error:
        print(f"{error.reason}: {error.message}", file=sys.stderr)  # noqa: T201 - the end of its output is read
        return EXIT_WRONG_INPUT
    tokenizer = ChatTokenizer(options.model)
    batcher = Batcher(network, tokenizer.stop_tokens(options.model))
    batcher.start()
    runner = make_runner(ChatApplication(batcher, tokenizer, options.name, network.max_tokens))
    asyncio.run(_serve(runner, options.port, batcher))
    return EXIT_DONE


async def _serve(runner: web.AppRunner, port: int, batcher: Batcher) -> None:
    await runner.setup()
    await web.TCPSite(runner, _HOST, port, backlog=1024).start()
    logger.info("ready")
    await asyncio.wrap_future(batcher.failed)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Serve a model directory to this host.")
    parser.add_argument("--model", type=Path, required=True, help="directory of config.json, weights and tokenizer")
    parser.add_argument("--name", required=True, help="name to serve it under")
    parser.add_argument("--device-target", choices=["CPU", "Ascend"], required=True)
    parser.add_argument("--batch-size", type=int, required=True, help=f"rows computed at once; {LARGEST_BATCH} at most")
    parser.add_argument("--port", type=int, required=True, help=f"port of {_HOST} to listen on")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
