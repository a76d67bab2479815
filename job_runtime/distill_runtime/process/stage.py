"""How a stage is run, whichever it is: from a contract file to a result and an exit code.

A stage is a module with three functions:

    fingerprints(contract, context) -> …   tells what its inputs are, by their content
    run(contract, context) -> Result       does the work; called only if the artifact is not complete yet
    check(contract, context) -> None       raises WrongInput where `run` would, without doing the work

All may raise StageError. Everything else that can end a stage is mapped to a result here, in one place.
"""

import errno
import logging
import re
import signal
import types
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from pydantic import ValidationError

from distill_runtime.contract import (
    EXIT_DONE,
    EXIT_RETRY,
    EXIT_TERMINATED,
    Contract,
    GenerateContract,
    InputFingerprint,
    Result,
    StageName,
    parse_contract,
    shard_output,
)
from distill_runtime.contract.stages import ADDITIONAL_API_KEY_VARIABLE, CONTRACT_OF
from distill_runtime.foundation.errors import Retryable, StageError, Terminated, WrongInput
from distill_runtime.process.progress import Reporter
from distill_runtime.storage.artifact import discard_work, find_complete
from distill_runtime.storage.fingerprints import changes
from distill_runtime.storage.inputs import input_changed, placed_by_inputs
from distill_runtime.storage.volume import Volume

logger = logging.getLogger(__name__)

_VOLUME_FULL = (errno.ENOSPC, errno.EDQUOT)
_VOLUME_CLOSED = (errno.EACCES, errno.EPERM, errno.EROFS)
_NAME_SHOWN = 80
_HEADER_TEXT = re.compile(r"[ -~]*")


@dataclass(frozen=True)
class StageContext:
    """What a stage is given besides its contract.

    Attributes:
        volume: where it reads and writes.
        reporter: where it says how far it is.
        index: which Pod of an Indexed Job it is, from 0.
        api_key: key of the teacher or of the evaluated endpoint, if there is one.
        additional_api_keys: keys of a teacher's additional models, as far as they have one, by their variables.
        judge_api_key: key of the judge, if there is one.
        fingerprints: what its inputs are, by their content.
    """

    volume: Volume
    reporter: Reporter
    index: int = 0
    api_key: str | None = field(default=None, repr=False)
    additional_api_keys: Mapping[str, str] = field(default_factory=dict, repr=False)
    judge_api_key: str | None = field(default=None, repr=False)
    fingerprints: tuple[InputFingerprint, ...] = ()


class Stage(Protocol):
    """The module of a stage."""

    def fingerprints(self, contract: Any, context: StageContext) -> tuple[InputFingerprint, ...]:
        """Tell what the inputs are that decide which work may be taken over."""

    def run(self, contract: Any, context: StageContext) -> Result:
        """Do the work and say what came of it."""

    def check(self, contract: Any, context: StageContext) -> None:
        """Look at the inputs only."""


def read_contract(path: Path, stage: StageName) -> Contract:
    """Read a stage's contract file.

    Raises:
        WrongInput: ContractMissing or InvalidContract, which names each field that is wrong.
    """
    try:
        contract = parse_contract(path.read_bytes())
    except OSError as error:
        raise WrongInput("ContractMissing", f"cannot read the contract {path}: {error.strerror}") from error
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(str(part) for part in problem['loc']) or 'the file'}: {problem['msg']}"
            for problem in error.errors(include_url=False, include_input=False)
        )
        raise WrongInput("InvalidContract", f"the contract {path} is wrong: {problems}") from error
    if contract.stage != CONTRACT_OF.get(stage, stage):
        raise WrongInput("InvalidContract", f"the contract {path} is for {contract.stage}, not for {stage}")
    return contract


def read_additional_api_keys(environment: Mapping[str, str]) -> dict[str, str]:
    """Read the keys of a teacher's additional models, by their variables.

    Raises:
        WrongInput: as `read_api_key`.
    """
    variables = [name for name in environment if name.startswith(ADDITIONAL_API_KEY_VARIABLE.format(number=""))]
    keys = {variable: read_api_key(environment, variable) for variable in variables}
    return {variable: key for variable, key in keys.items() if key is not None}


def read_api_key(environment: Mapping[str, str], variable: str) -> str | None:
    """Read the key without the white space around it: the file that a Secret is made from often ends in a newline.

    Raises:
        WrongInput: EndpointMisconfigured, if no header could carry it.
    """
    key = environment.get(variable, "").strip()
    if not _HEADER_TEXT.fullmatch(key):
        raise WrongInput(
            "EndpointMisconfigured",
            f"the API key in {variable} cannot be sent in a header: it has a line break, another control "
            "character or one outside ASCII in it; correct the Secret that it comes from",
        )
    return key or None


def run_stage(stage: Stage, contract: Contract, context: StageContext) -> Result:
    """Do a stage's work, or find it done, with the inputs that it has now.

    Raises:
        WrongInput: InputChanged, if a teacher's answers are complete and the prompts are others now; these cost more
            than to be asked for again unasked. Other stages make something new beside what is complete.
    """
    context = replace(context, fingerprints=stage.fingerprints(contract, context))
    if isinstance(contract, GenerateContract):
        output = shard_output(contract.output, context.index, contract.shards)
        complete = find_complete(context.volume, contract.model_copy(update={"output": output}))
        if complete is not None and (changed := changes(complete[1].fingerprints, context.fingerprints)):
            raise input_changed(f"{output} was made", changed)
    else:
        contract = placed_by_inputs(context.volume, contract, context.fingerprints)
        complete = find_complete(context.volume, contract)
    if complete is None:
        result = stage.run(contract, context)
        return result.model_copy(update={"inputs": (*context.fingerprints, *result.inputs)})
    reference, manifest = complete
    if context.index == 0:  # a Pod that was killed between the rename and this leaves it; one is enough to remove it
        discard_work(context.volume.resolve(reference.uri))
    return Result(
        outcome="Succeeded",
        reason="AlreadyComplete",
        message=f"{reference.uri} is complete already; there is nothing to do",
        artifact=reference,
        counts=manifest.counts,
        metrics=manifest.metrics,
        inputs=manifest.fingerprints,
        judgement=manifest.judgement,
    )


def check_stage(stage: Stage, contract: Contract, context: StageContext) -> Result:
    """Look at a stage's inputs without doing its work; what it has reported of them is in the result."""
    stage.check(contract, context)
    said = context.reporter.snapshot()
    return Result(
        outcome="Succeeded",
        reason="InputsValid",
        message="the inputs are there and right",
        counts=said.counts,
        metrics=said.metrics,
    )


def conclude(work: Callable[[], Result]) -> tuple[Result, int]:
    """Run to the end, whatever end that is, and give the result and the process's exit code."""
    try:
        with _sigterm_raises():
            return work(), EXIT_DONE
    except Terminated:
        message = "stopped by SIGTERM; progress is kept and the next Pod goes on from there"
        return Result(outcome="Terminated", reason="Terminated", message=message), EXIT_TERMINATED
    except StageError as error:
        return _failed(error)
    except OSError as error:
        if (known := _volume_error(error)) is not None:
            return _failed(known)
        return _unexpected(error)
    except Exception as error:  # noqa: BLE001 - the one boundary; _unexpected logs the traceback
        return _unexpected(error)


def _failed(error: StageError) -> tuple[Result, int]:
    result = Result(
        outcome=error.outcome, reason=error.reason, message=error.message, failure_class=error.failure_class
    )
    return result, error.exit_code


def _unexpected(error: Exception) -> tuple[Result, int]:
    logger.error("the stage failed unexpectedly", exc_info=error)
    message = f"{type(error).__name__}: {error}; the stage's log has the traceback"
    return Result(outcome="Failed", reason="UnexpectedError", message=message), EXIT_RETRY


def _volume_error(error: OSError) -> StageError | None:
    """Put what an administrator can mend into words."""
    where = error.filename or "the volume"
    if error.errno in _VOLUME_FULL:
        return Retryable("VolumeFull", f"no space left for {where}; enlarge the claim or remove what is not needed")
    if error.errno in _VOLUME_CLOSED and error.filename:
        return WrongInput(
            "PermissionDenied", f"{where}: {error.strerror}; make it accessible to the user that the stage runs as"
        )
    if error.errno == errno.ENAMETOOLONG:
        return WrongInput(
            "NameTooLong",
            f"{str(where)[:_NAME_SHOWN]}… has a name that is too long for a file; shorten it to 255 bytes",
        )
    return None


@contextmanager
def _sigterm_raises() -> Iterator[None]:
    def terminate(_signal: int, _frame: types.FrameType | None) -> None:
        # Once is enough: a second SIGTERM must not break the cleaning up after the first.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise Terminated

    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
