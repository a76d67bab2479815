"""What MindSpore and CANN are told by environment variables, before a worker loads either."""

import hashlib
import json
import shutil
from collections.abc import MutableMapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import yaml

from distill_runtime.training.assignment import Assignment

_OF_AN_ATTEMPT: Final = {"load_checkpoint", "auto_trans_ckpt", "resume_training"}
"""Keys of the YAML that say where an attempt starts, and nothing about the graph."""
_DIGITS: Final = 12


def set_up_environment(assignment: Assignment, rank: int, environment: MutableMapping[str, str]) -> None:
    """Add the variables of one worker to its environment, in which a profile's own stay as they are.

    MS_COMPILER_CACHE_ENABLE, MS_COMPILER_CACHE_PATH: the graph that MindSpore has compiled, in a folder for each rank,
    which the next attempt takes again instead of compiling for minutes. (Measured on CPU: a first step of 2.5 s instead
    of 40, the same losses.) MindSpore compares little: the entry script and what it imports, but for what is installed
    (its API reference, env_var_list; `_get_compile_cache_dep_files` in mindspore/common/api.py, 2.7). So each
    configuration has a directory of its own, and an attempt that starts from the first step begins without any: whoever
    was to write it may have been killed over it. One that resumes follows one that has trained.

    ASCEND_PROCESS_LOG_PATH, on Ascend: CANN's own log, plog, has the only words that HCCL and the driver leave. It
    would be in $HOME/ascend, which goes with the Pod; so it is beside the worker's output, in `ascend/`. (CANN's
    reference of environment variables, envref_07_0120.)
    """
    compiled = assignment.compiled / _graph_digest(assignment)
    if assignment.resume_step == 0:
        shutil.rmtree(compiled / f"rank_{rank}", ignore_errors=True)
    environment.setdefault("MS_COMPILER_CACHE_ENABLE", "1")
    environment.setdefault("MS_COMPILER_CACHE_PATH", str(compiled))
    if assignment.device_target == "Ascend":
        environment.setdefault("ASCEND_PROCESS_LOG_PATH", str(assignment.failures / "ascend"))


def _graph_digest(assignment: Assignment) -> str:
    """Name all that decides the graph: versions, this package's code, and the configuration of whatever attempt."""
    versions = {package: version(package) for package in ("mindspore", "mindformers")}
    code = [path.read_text(encoding="utf-8") for path in sorted(Path(__file__).parent.glob("*.py"))]
    configuration: dict[str, Any] = yaml.safe_load(assignment.configuration.read_text(encoding="utf-8"))
    deciding = {key: value for key, value in configuration.items() if key not in _OF_AN_ATTEMPT}
    canonical = json.dumps([versions, code, deciding], sort_keys=True)
    return hashlib.sha256(canonical.encode()).hexdigest()[:_DIGITS]
