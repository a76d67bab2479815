"""Answers to browse: each folded, with its verdict; a few lines of script choose by verdict, and nothing needs them.

What a model wrote is text of the page and never anything else: it is escaped, and the script has no data in it.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

STYLE: Final = """
:root { --good: #2e8b57; --bad: #c4453c }
@media (prefers-color-scheme: dark) { :root { --good: #5cc08a; --bad: #e0685f } }
.filter button { font: inherit; color: inherit; background: var(--card); border: 1px solid var(--line); cursor: pointer;
  border-radius: 1rem; padding: .1rem .8rem; margin: 0 .3rem .4rem 0 }
.filter button[aria-pressed=true] { border-color: var(--part0); background: var(--part0); color: var(--page) }
.sample { border: 1px solid var(--line); border-radius: .5rem; margin: .4rem 0; background: var(--card) }
.sample summary { cursor: pointer; padding: .4rem .8rem; display: flex; gap: .7rem; align-items: baseline }
.sample summary span:nth-child(2) { flex: 1; overflow: hidden; text-overflow: ellipsis; white-space: nowrap }
.sample[open] summary span:nth-child(2) { white-space: pre-wrap; overflow-wrap: anywhere }
.verdict { font-size: .8rem; font-weight: 600; color: var(--bad); white-space: nowrap }
.verdict.correct { color: var(--good) }
.sample small, .legend { color: var(--faint) } .sample summary small { white-space: nowrap }
.sample small { overflow-wrap: anywhere }
.sample div { padding: 0 .8rem .6rem } pre.text { white-space: pre-wrap; overflow-wrap: anywhere; max-height: 30rem;
  overflow-y: auto; font: .82rem/1.5 ui-monospace, monospace; margin: .5rem 0 0 }
.pair { display: grid; grid-template-columns: 1fr 1fr; gap: .8rem } .pair > section { min-width: 0 }
.pair h4 { margin: .4rem 0 0; font-size: .85rem; color: var(--faint); font-weight: 500 }
@media (max-width: 40rem) { .pair { grid-template-columns: 1fr } .sample summary { flex-wrap: wrap } }
"""
_SCRIPT: Final = """
for (const filter of document.querySelectorAll(".filter")) {
  filter.hidden = false;
  filter.addEventListener("click", event => {
    const button = event.target.closest("button");
    if (!button) return;
    for (const each of filter.children) each.setAttribute("aria-pressed", each === button);
    for (const sample of document.querySelectorAll(".sample[data-verdict]"))
      sample.hidden = button.value !== "" && sample.dataset.verdict !== button.value;
  });
}
"""
_HEAD, _TAIL = 1_500, 4_000
"""Characters that are shown of a longer text: how it begins, and how it comes to its answer."""
_LONGEST_PROBLEM: Final = 4_000


@dataclass(frozen=True)
class ShownSample:
    """An answer as the page shows it.

    Attributes:
        number: of the problem, from 1, and of the sample.
        verdict: what it is filtered by: `correct`, `incorrect`, `noAnswer`, `truncated`, `unanswered` …
        problem, reference: what was asked, and what is right.
        extracted: the final answer that was found; None if none was.
        text: what the model wrote, reasoning included; why there is nothing, if it was not answered.
        tokens: of it; None if nobody counted them.
    """

    number: str
    verdict: str
    problem: str
    reference: str
    extracted: str | None
    text: str
    tokens: int | None


@dataclass(frozen=True)
class Flip:
    """A problem that this evaluation and a baseline's do not agree about."""

    ours: ShownSample
    theirs: ShownSample


def draw_samples(samples: Sequence[ShownSample], total: int) -> str:
    """Draw the samples with their filter; nothing without any."""
    if not samples:
        return ""
    by_verdict = Counter(sample.verdict for sample in samples)
    buttons = "".join(
        f'<button value="{escape(verdict)}" aria-pressed="false">{escape(verdict)} {number}</button>'
        for verdict, number in sorted(by_verdict.items())
    )
    said = "all of them" if len(samples) == total else "of every verdict some, spread over the benchmark"
    return (
        f'<h2>Samples</h2>\n<p class="legend">{len(samples):,} of {total:,} shown: {said}.</p>'
        f'<p class="filter" hidden><button value="" aria-pressed="true">all {len(samples)}</button>{buttons}</p>'
        + "".join(map(_sample, samples))
        + f"<script>{_SCRIPT}</script>"
    )


def draw_flips(flips: Sequence[Flip], total: int, baseline: str) -> str:
    """Draw problems with both answers side by side; nothing without any."""
    if not flips:
        return ""
    return (
        f'<h2>Answered otherwise than by {escape(baseline)}</h2>\n<p class="legend">{len(flips):,} of {total:,} '
        "problems on which the two differ.</p>" + "".join(_flip(flip, baseline) for flip in flips)
    )


def shortened(text: str) -> str:
    """Leave the middle out of a long text, and say how much."""
    if len(text) <= _HEAD + _TAIL:
        return text
    left_out = len(text) - _HEAD - _TAIL
    return f"{text[:_HEAD]}\n\n[… {left_out:,} characters are left out here …]\n\n{text[-_TAIL:]}"


def _sample(sample: ShownSample) -> str:
    return (
        f'<details class="sample" data-verdict="{escape(sample.verdict)}">{_summary(sample, _verdict(sample))}'
        f"<div>{_answer(sample)}</div></details>"
    )


def _flip(flip: Flip, baseline: str) -> str:
    return (
        f'<details class="sample">{_summary(flip.ours, f"{_verdict(flip.theirs)} → {_verdict(flip.ours)}")}'
        f'<div class="pair"><section><h4>{escape(baseline)}</h4>{_answer(flip.theirs)}</section>'
        f"<section><h4>this model</h4>{_answer(flip.ours)}</section></div></details>"
    )


def _summary(sample: ShownSample, verdict: str) -> str:
    problem = escape(sample.problem[:_LONGEST_PROBLEM])
    return f"<summary><small>{escape(sample.number)}</small><span>{problem}</span><span>{verdict}</span></summary>"


def _verdict(sample: ShownSample) -> str:
    kind = " correct" if sample.verdict == "correct" else ""
    return f'<span class="verdict{kind}">{escape(sample.verdict)}</span>'


def _answer(sample: ShownSample) -> str:
    found = "no final answer" if sample.extracted is None else f"answer <b>{escape(sample.extracted[:200])}</b>"
    tokens = "" if sample.tokens is None else f", {sample.tokens:,} tokens"
    return (
        f"<small>{found}, reference <b>{escape(sample.reference[:200])}</b>{tokens}</small>"
        f'<pre class="text">{escape(shortened(sample.text))}</pre>'
    )
