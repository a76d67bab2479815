"""What a stage Pod says, read with care: its progress while it runs, its result when it has ended.

It comes from a job runtime of this version or another, or from whatever answers in its place. Fields that this version
does not know are left out, so that a rollback does no harm. What goes on into a status has to be something that the API
server takes, or the object would never be written again: numbers are finite and fit an int64 even added up over all
shards, texts and maps are no longer than a person reads. What is left out for that is said in the message.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Any, get_args

from pydantic import ValidationError
from pydantic_core import from_json

from distill_operator.observation import PodView
from distill_runtime.contract import FailureClass, Progress, Result
from distill_runtime.contract.comparison import Judgement

MOST_BYTES = 65_536
MOST_FIGURES = 100
LONGEST_NAME = 100
LONGEST_TEXT = 4096
"""As many characters as a termination message may have bytes."""
LARGEST_COUNT = 2**53 - 1
"""Exact in every JSON parser; and the sum of those of a thousand shards is an int64."""
FAILURE_CLASSES = get_args(FailureClass)
LONGEST_ETA_SECONDS = 10 * 365 * 86_400.0


def read_progress(body: bytes) -> Progress | None:
    """Give the progress that a Pod has answered with, or None if that is not what it is."""
    said = _object(body)
    counts, no_counts = _counts(said)
    metrics, no_metrics = _metrics(said)
    try:
        return Progress(
            stage=_text(said.get("stage")),
            done=said["done"] if _is_count(said.get("done")) else -1,
            total=said["total"] if _is_count(said.get("total")) else None,
            unit=_text(said.get("unit"), LONGEST_NAME),
            rate=_amount(said.get("rate"), LARGEST_COUNT),
            eta_seconds=_amount(said.get("etaSeconds"), LONGEST_ETA_SECONDS),
            message=_message(said, [*no_counts, *no_metrics]),
            counts=counts,
            metrics=metrics,
        )
    except ValidationError:
        return None


def parse_result(pod: PodView) -> Result | None:
    """Give the result that a Pod left, or None if it left none (it was killed, or its last words are a log)."""
    said = _object(pod.termination_message)
    counts, no_counts = _counts(said)
    metrics, no_metrics = _metrics(said)
    try:
        return Result.model_validate(
            {
                "outcome": said.get("outcome"),
                "reason": _text(said.get("reason"), LONGEST_NAME),
                "message": _message(said, [*no_counts, *no_metrics]),
                "failure_class": said.get("failureClass") if said.get("failureClass") in FAILURE_CLASSES else None,
                "artifact": said.get("artifact"),
                "counts": counts,
                "metrics": metrics,
                "inputs": _inputs(said),
                "judgement": _judgement(said),
            },
            extra="ignore",
        )
    except ValidationError:
        return None


def _object(text: str | bytes) -> Mapping[str, Any]:
    """Read a JSON object; what is none, or longer than any that a stage writes, is read as an empty one."""
    if len(text) > MOST_BYTES:
        return {}
    try:
        value = from_json(text.encode(errors="replace") if isinstance(text, str) else text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _counts(said: Mapping[str, Any]) -> tuple[dict[str, int], list[str]]:
    figures = _figures(said.get("counts"))
    fitting = {name: value for name, value in figures.items() if _is_count(value)}
    return fitting, _left_out(figures, fitting)


def _metrics(said: Mapping[str, Any]) -> tuple[dict[str, float], list[str]]:
    figures = _figures(said.get("metrics"))
    numbers = {name: _finite(value) for name, value in figures.items()}
    fitting = {name: value for name, value in numbers.items() if value is not None}
    return fitting, _left_out(figures, fitting)


def _inputs(said: Mapping[str, Any]) -> list[dict[str, str]]:
    """Give what was read, as far as it can be: an older runtime says nothing of it, a newer one perhaps otherwise."""
    told = said.get("inputs")
    inputs = [each for each in told if isinstance(each, dict)] if isinstance(told, list) else []
    return [{name: _text(each.get(name)) for name in ("name", "uri", "value")} for each in inputs[:MOST_FIGURES]]


def _judgement(said: Mapping[str, Any]) -> Judgement | None:
    """Give what the stage compare has found, if this version can read it."""
    try:
        found = Judgement.model_validate(said.get("judgement"), extra="ignore")
    except ValidationError:
        return None
    numbers = [value for each in found.comparisons for value in each.model_dump().values() if isinstance(value, float)]
    return found if all(map(math.isfinite, numbers)) else None


def _figures(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        return {}
    names = [name for name in value if len(name) <= LONGEST_NAME]
    return {name: value[name] for name in names[:MOST_FIGURES]}


def _left_out(figures: Iterable[str], fitting: Mapping[str, object]) -> list[str]:
    return [name for name in figures if name not in fitting]


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= LARGEST_COUNT


def _amount(value: object, limit: float) -> float | None:
    number = _finite(value)
    return number if number is not None and 0 <= number <= limit else None


def _finite(value: object) -> float | None:
    """Give a number; JSON has none for NaN and infinity, so that a stage writes null, or 1e400 is read as infinity."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _text(value: object, limit: int = LONGEST_TEXT) -> str:
    text = value if isinstance(value, str) else ""
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def _message(said: Mapping[str, Any], left_out: list[str]) -> str:
    message = _text(said.get("message"))
    if not left_out:
        return message
    return _text(f"Not a number that can be shown: {', '.join(left_out)}. {message}".rstrip())
