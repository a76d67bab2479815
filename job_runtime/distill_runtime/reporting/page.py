"""A report as one HTML page: no script, no font and no image from elsewhere."""

from collections.abc import Mapping
from html import escape
from typing import Any

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #1b1f24 }
h1 { font-size: 1.5rem } h2 { font-size: 1.1rem; margin-top: 2rem }
dl { display: grid; grid-template-columns: max-content auto; gap: .2rem 1.5rem } dd { margin: 0; font-weight: 600 }
table { border-collapse: collapse; width: 100% }
th, td { text-align: left; padding: .2rem .6rem; border-bottom: 1px solid #d8dee4; vertical-align: top;
  overflow-wrap: anywhere }
td.number { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums }
td.bar { width: 60% } td.bar span { display: inline-block; height: .9rem }
.part0 { background: #2c7fb8 } .part1 { background: #f0a35e } .part2 { background: #9aa5b1 }
.key span { display: inline-block; width: .9rem; height: .9rem; margin: 0 .4rem 0 1rem; vertical-align: -.1rem }
"""


def render(report: Mapping[str, Any]) -> str:
    """Write the page.

    Args:
        report: a `report.Report` as plain values.
    """
    body = [f"<h1>{escape(report['title'])}</h1>", _figures(report["figures"])]
    body += [_chart(chart) for chart in report["charts"]]
    body += [_table(table) for table in report["tables"]]
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f"<title>{escape(report['title'])}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(body)
        + "\n</body>\n</html>\n"
    )


def _figures(figures: Mapping[str, int | float]) -> str:
    rows = (f"<dt>{escape(name)}</dt><dd>{_number(value)}</dd>" for name, value in figures.items())
    return f"<dl>{''.join(rows)}</dl>"


def _chart(chart: Mapping[str, Any]) -> str:
    largest = max((sum(bar["parts"]) for bar in chart["bars"]), default=0) or 1
    rows = []
    for bar in chart["bars"]:
        pieces = "".join(
            f'<span class="part{index}" style="width:{100 * part / largest:.2f}%"></span>'
            for index, part in enumerate(bar["parts"])
        )
        numbers = " / ".join(_number(part) for part in bar["parts"])
        rows.append(
            f'<tr><td class="number">{escape(bar["label"])}</td><td class="bar">{pieces}</td>'
            f'<td class="number">{numbers}</td></tr>'
        )
    key = "".join(f'<span class="part{index}"></span>{escape(part)}' for index, part in enumerate(chart["parts"]))
    return f'<h2>{escape(chart["title"])}</h2>\n<p class="key">{key}</p>\n<table>{"".join(rows)}</table>'


def _table(table: Mapping[str, Any]) -> str:
    head = "".join(f"<th>{escape(column)}</th>" for column in table["columns"])
    rows = ("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in table["rows"])
    return f"<h2>{escape(table['title'])}</h2>\n<table><tr>{head}</tr>{''.join(rows)}</table>"


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"
