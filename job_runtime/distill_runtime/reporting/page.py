"""A report as one HTML page: no script, no font and no image from elsewhere; light or dark as the system is."""

import math
from collections.abc import Iterable, Mapping
from html import escape
from typing import Any, Final

_TILES_IN_A_ROW: Final = 7
"""As many as there is room for on a wide page."""

STYLE = """
:root { color-scheme: light dark; --page: #fff; --card: #f6f8fa; --text: #1b1f24; --faint: #59636e; --line: #d8dee4;
  --part0: #2c7fb8; --part1: #f0a35e; --part2: #9aa5b1 }
@media (prefers-color-scheme: dark) { :root { --page: #14181d; --card: #1d232a; --text: #e6e9ed; --faint: #9aa5b1;
  --line: #343c46; --part0: #56a6dc; --part1: #d98b45; --part2: #6b7682 } }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2.5rem auto; padding: 0 1rem;
  background: var(--page); color: var(--text) }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 1.2rem; overflow-wrap: anywhere }
h2 { font-size: 1.1rem; margin: 2.5rem 0 .5rem }
.kind { color: var(--faint); margin: 0 }
dl { display: grid; gap: .7rem; margin: 0;
  grid-template-columns: repeat(auto-fit, minmax(max(7.2rem, 100% / var(--columns) - .7rem), 1fr)) }
dl div { background: var(--card); border: 1px solid var(--line); border-radius: .5rem; padding: .5rem .8rem }
dt { color: var(--faint); font-size: .85rem } dd { margin: 0; font-size: 1.35rem; font-weight: 600 }
table { border-collapse: collapse; width: 100% }
th { color: var(--faint); font-weight: 500; font-size: .85rem }
th, td { text-align: left; padding: .25rem .6rem; border-bottom: 1px solid var(--line); vertical-align: top }
td { overflow-wrap: anywhere }
.number { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums }
td.label { min-width: 8.5rem; max-width: 16rem }
td.bar { width: 60%; vertical-align: middle; white-space: nowrap; font-size: 0 }
td.bar span { display: inline-block; height: .9rem; min-width: 2px }
.part0 { background: var(--part0) } .part1 { background: var(--part1) } .part2 { background: var(--part2) }
th i { display: inline-block; width: .7rem; height: .7rem; border-radius: .15rem; margin-right: .35rem }
.samples { overflow-x: auto } .samples table { min-width: 36rem }
.samples td { font: .85rem/1.5 ui-monospace, monospace } .samples td:first-child { white-space: nowrap }
@media (max-width: 40rem) {
  .bars tr { display: flex; flex-wrap: wrap; border-bottom: 1px solid var(--line) }
  .bars th, .bars td { border: 0; padding: .15rem .2rem }
  .bars tr > :first-child { flex: 1; min-width: 0; max-width: none }
  .bars .number { min-width: 4rem } .bars th.bar { display: none }
  .bars td.bar { order: 1; width: 100%; padding-bottom: .4rem }
}
"""


def render(report: Mapping[str, Any]) -> str:
    """Write the page.

    Args:
        report: a `report.Report` as plain values.
    """
    body = [
        tiles({each["label"]: _value(each["value"], each["unit"]) for each in report["figures"].values()}),
        *(chart(each) for each in report["charts"] if each["bars"]),
        *(table(each) for each in report["tables"] if each["rows"]),
    ]
    return document(report["subject"], report["title"], body, STYLE)


def document(subject: str, kind: str, body: Iterable[str], style: str) -> str:
    """Put a page together.

    Args:
        subject: what it reports on, as text.
        kind: what that is, as text.
        body: HTML, part by part.
        style: CSS.
    """
    subject, kind = escape(subject), escape(kind)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{subject} – {kind}</title>\n<style>{style}</style>\n</head>\n<body>\n"
        f'<p class="kind">{kind}</p>\n<h1>{subject}</h1>\n' + "\n".join(body) + "\n</body>\n</html>\n"
    )


def tiles(figures: Mapping[str, str]) -> str:
    """Write the most important numbers, by what a person calls them, in rows that are about equally long."""
    cards = (f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in figures.items())
    rows = max(1, math.ceil(len(figures) / _TILES_IN_A_ROW))
    return f'<dl style="--columns: {max(1, math.ceil(len(figures) / rows))}">{"".join(cards)}</dl>'


def _value(value: float, unit: str) -> str:
    return _percent(value) if unit == "share" else f"{value:,}"


def chart(values: Mapping[str, Any]) -> str:
    """Draw a bar a row; the head of the columns with the numbers is the legend."""
    largest = max(sum(bar["parts"]) for bar in values["bars"]) or 1
    rows = []
    for bar in values["bars"]:
        pieces = "".join(
            f'<span class="part{index}" style="width:{100 * part / largest:.2f}%"></span>'
            for index, part in enumerate(bar["parts"])
            if part
        )
        numbers = [f"{part:,}" for part in bar["parts"]]
        if values["share"]:
            numbers.append(_percent(bar["parts"][0] / sum(bar["parts"])) if sum(bar["parts"]) else "–")
        cells = "".join(f'<td class="number">{number}</td>' for number in numbers)
        rows.append(f'<tr><td class="label">{escape(bar["label"])}</td><td class="bar">{pieces}</td>{cells}</tr>')
    legend = [f'<i class="part{index}"></i>{escape(part)}' for index, part in enumerate(values["parts"])]
    if values["share"]:
        legend.append(escape(values["share"]))
    head = "".join(f'<th class="number">{name}</th>' for name in legend)
    return (
        f"<h2>{escape(values['title'])}</h2>\n"
        f'<table class="bars"><tr><th></th><th class="bar"></th>{head}</tr>{"".join(rows)}</table>'
    )


def table(values: Mapping[str, Any]) -> str:
    """Write rows of text."""
    head = "".join(f"<th>{escape(column)}</th>" for column in values["columns"])
    rows = ("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in values["rows"])
    return (
        f'<h2>{escape(values["title"])}</h2>\n<div class="samples"><table><tr>{head}</tr>{"".join(rows)}</table></div>'
    )


def pairs(heading: str, values: Mapping[str, str]) -> str:
    """Write names and what they stand for; nothing without any."""
    if not values:
        return ""
    rows = "".join(f"<tr><td>{escape(name)}</td><td>{escape(value)}</td></tr>" for name, value in values.items())
    return f'<h2>{escape(heading)}</h2>\n<table class="pairs">{rows}</table>'


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
