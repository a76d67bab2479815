"""Which rows are selected, and why the others are not: a pure function of a few numbers a row.

The rules apply one after another, each to what those before it have left: the prompt's pass rate, the answer's length,
how many answers of a prompt, how many of a source or teacher, how many in all. So no row is left out in favour of one
that is left out itself.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from distill_runtime.contract import SelectParameters
from distill_runtime.contract.parameters import LengthBand
from distill_runtime.filtering.keys import Keys
from distill_runtime.filtering.selection import NOT_KEPT, beyond_first, beyond_most
from distill_runtime.selecting.candidates import Known

SELECTED = "selected"
PASS_RATE_TOO_LOW, PASS_RATE_TOO_HIGH, PASS_RATE_UNKNOWN = "passRateTooLow", "passRateTooHigh", "passRateUnknown"
TOO_SHORT, TOO_LONG, LENGTH_UNKNOWN = "tooShort", "tooLong", "lengthUnknown"
OVERREPRESENTED = "overrepresented"
BEYOND_LIMIT = "beyondLimit"
FATES = (
    SELECTED,
    *(PASS_RATE_UNKNOWN, PASS_RATE_TOO_LOW, PASS_RATE_TOO_HIGH, LENGTH_UNKNOWN, TOO_SHORT, TOO_LONG),
    *(NOT_KEPT, OVERREPRESENTED, BEYOND_LIMIT),
)
"""What may become of a row."""

TENTHS = 11
"""Into which pass rates are sorted: ten parts of a tenth each, and 1."""
UNKNOWN = TENTHS
"""Where a prompt is sorted that has no pass rate."""

Fates = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Choice:
    """What becomes of each row.

    Attributes:
        fates: its place in `FATES`.
        tenths: of its prompt's pass rate; the last is for 1, and one more for none.
        prompts: how many prompts have a selected row.
    """

    fates: Fates
    tenths: NDArray[np.uint8]
    prompts: int


def choose(known: Known, parameters: SelectParameters) -> Choice:
    """Choose; the same rows and parameters lead to the same choice, in whatever order the rows are."""
    candidates = known.candidates
    fates = np.zeros(len(candidates), np.uint8)
    tenths = np.zeros(len(candidates), np.uint8)
    number = known.verdicts.fitting_parts
    for (rows, part), (_, verdicts) in zip(candidates.parts(number), known.verdicts.parts(number), strict=True):
        rates = _pass_rates(part["prompt"], verdicts)
        tenths[rows] = np.where(np.isnan(rates), UNKNOWN, np.nan_to_num(rates) * (TENTHS - 1)).astype(np.uint8)
        fates[rows] = _judge_by_prompt(part, rates, parameters)
    if parameters.balance is not None:
        _balance(candidates, fates, parameters.balance.max_per_value)
    if parameters.limit is not None:
        _limit(candidates, fates, parameters.limit)
    return Choice(fates, tenths, _count_prompts(candidates, fates, number))


def _pass_rates(prompts: NDArray[np.uint64], verdicts: NDArray[np.void]) -> NDArray[np.float64]:
    """Give for each row the share of its prompt's generations that is right, or NaN where there is no verdict on any.

    Without a probe each row's own generation is among them.
    """
    if not len(verdicts):
        return np.full(len(prompts), np.nan)
    distinct, places = np.unique(verdicts["prompt"], return_inverse=True)
    judged = np.bincount(places, minlength=len(distinct))
    right = np.bincount(places, weights=verdicts["right"], minlength=len(distinct))
    found = np.minimum(np.searchsorted(distinct, prompts), len(distinct) - 1)
    # Divided rather than multiplied: 3 of 10 is the same number as a bound that is written as 0.3.
    rates: NDArray[np.float64] = np.where(distinct[found] == prompts, right[found] / judged[found], np.nan)
    return rates


def _judge_by_prompt(part: NDArray[np.void], rates: NDArray[np.float64], parameters: SelectParameters) -> Fates:
    """Apply the rules that need to know no other prompts."""
    fates = np.zeros(len(part), np.uint8)
    fates[rates < parameters.min_pass_rate] = FATES.index(PASS_RATE_TOO_LOW)
    fates[rates > parameters.max_pass_rate] = FATES.index(PASS_RATE_TOO_HIGH)
    fates[np.isnan(rates)] = FATES.index(PASS_RATE_UNKNOWN)
    if parameters.length is not None:
        within = fates == 0
        fates[within] = _judge_length(part[within], parameters.length)
    if parameters.max_per_prompt is not None or parameters.keep != "all":
        left = np.flatnonzero(fates == 0)
        fates[left[beyond_most(part[left], parameters.keep, parameters.max_per_prompt or 1)]] = FATES.index(NOT_KEPT)
    return fates


def _judge_length(part: NDArray[np.void], band: LengthBand) -> Fates:
    lengths = part["tokens" if band.unit == "tokens" else "length"]
    fates = np.zeros(len(part), np.uint8)
    fates[lengths < band.min] = FATES.index(TOO_SHORT)
    if band.max is not None:
        fates[lengths > band.max] = FATES.index(TOO_LONG)
    fates[lengths < 0] = FATES.index(LENGTH_UNKNOWN)
    return fates


def _balance(candidates: Keys, fates: Fates, most: int) -> None:
    left = np.flatnonzero(fates == 0)
    values = _of_selected(candidates, fates, "value")
    by_value = np.lexsort((_of_selected(candidates, fates, "order"), values))
    fates[left[beyond_first(values, by_value, most)]] = FATES.index(OVERREPRESENTED)


def _limit(candidates: Keys, fates: Fates, most: int) -> None:
    left = np.flatnonzero(fates == 0)
    in_order = np.argsort(_of_selected(candidates, fates, "order"), kind="stable")
    fates[left[in_order[most:]]] = FATES.index(BEYOND_LIMIT)


def _of_selected(candidates: Keys, fates: Fates, field: str) -> NDArray[np.uint64]:
    """Give one of the numbers of each row that is still selected."""
    found = [chunk[field][fates[start : start + len(chunk)] == 0] for start, chunk in candidates.chunks()]
    return np.concatenate(found)


def _count_prompts(candidates: Keys, fates: Fates, parts: int) -> int:
    return sum(len(np.unique(part["prompt"][fates[rows] == 0])) for rows, part in candidates.parts(parts))
