"""The command line: `python -m distill_runtime STAGE --contract FILE`."""

import argparse
import importlib
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

from distill_runtime.contract import Result, StageName
from distill_runtime.contract.stages import API_KEY_VARIABLE, INDEX_VARIABLE, JUDGE_API_KEY_VARIABLE, VOLUME_PATH
from distill_runtime.process import stage
from distill_runtime.process.progress import Reporter
from distill_runtime.process.progress_server import start_log, start_server
from distill_runtime.process.stage import StageContext
from distill_runtime.storage.volume import Volume

logger = logging.getLogger(__name__)

UNITS: Mapping[StageName, str] = {
    "generate": "generations",
    "filter": "generations",
    "select": "rows",
    "pack": "samples",
    "msrun": "steps",
    "export": "MB",
    "eval": "problems",
    "compare": "comparisons",
}
"""The stages, and what each counts. A stage's module is `distill_runtime.stages.<name>`, loaded only when asked for."""

_LOG_SECONDS_AT_A_TERMINAL = 5
_LOG_SECONDS_IN_A_POD = 30


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one stage and return the exit code (see `contract.report`)."""
    options = _parse(arguments)
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", force=True
    )
    name = cast("StageName", options.stage)
    reporter = Reporter(name, UNITS[name])
    act = stage.check_stage if options.check else stage.run_stage

    def work() -> Result:
        contract = stage.read_contract(options.contract, name)
        context = StageContext(
            volume=Volume(options.volume),
            reporter=reporter,
            index=int(os.environ.get(INDEX_VARIABLE, "0")),
            api_key=stage.read_api_key(os.environ, API_KEY_VARIABLE),
            additional_api_keys=stage.read_additional_api_keys(os.environ),
            judge_api_key=stage.read_api_key(os.environ, JUDGE_API_KEY_VARIABLE),
        )
        logger.info("%s starts; its output will be %s", name, contract.output)
        return act(cast("stage.Stage", importlib.import_module(f"distill_runtime.stages.{name}")), contract, context)

    if options.progress_port is not None:
        start_server(reporter, options.progress_port)
        start_log(reporter, _LOG_SECONDS_IN_A_POD)
    else:
        start_log(reporter, _LOG_SECONDS_AT_A_TERMINAL)
    result, exit_code = stage.conclude(work)
    logger.info("%s: %s: %s", name, result.reason, result.message)
    _leave(result, options.result)
    return exit_code


def _leave(result: Result, path: Path | None) -> None:
    text = result.to_termination_message()
    if path is None:
        sys.stdout.write(text + "\n")
    else:
        # Written in place: a Pod's termination log is a mounted file, which cannot be replaced.
        path.write_text(text, encoding="utf-8")


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m distill_runtime", description="Run one stage of a distillation.")
    parser.add_argument("stage", choices=list(UNITS))
    parser.add_argument("--contract", type=Path, required=True, help="JSON file that says what to do")
    parser.add_argument("--volume", type=Path, default=Path(VOLUME_PATH), help="directory that its paths start from")
    parser.add_argument("--result", type=Path, help="write the result here rather than to standard output")
    parser.add_argument("--progress-port", type=int, help="serve /progress, /metrics and /healthz on this port")
    parser.add_argument("--check", action="store_true", help="check the inputs, without work and without devices")
    return parser.parse_args(arguments)
