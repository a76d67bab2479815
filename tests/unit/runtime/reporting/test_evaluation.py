"""The report on an evaluation: a page that is nobody's but ours, and a table that nothing breaks."""

import re
from html.parser import HTMLParser

from hypothesis import given
from hypothesis import strategies as st

from distill_runtime.reporting import forest_plot
from distill_runtime.reporting.evaluation import EvaluationReport, Flips, Score, render_card, render_page
from distill_runtime.reporting.samples import Flip, ShownSample, shortened

OWN = Score("ours", 90.0, 87.1, 92.3, 500)
NASTY = st.one_of(
    st.text(),
    st.lists(
        st.sampled_from(["</script>", "</pre>", "<script>x()</script>", "</details>", '"', "'", "<!--", "]]>", "&lt;"])
    ).map("".join),
)


def report(text: str) -> EvaluationReport:
    sample = ShownSample("1", "incorrect", text, text, text, text, 7)
    return EvaluationReport(
        benchmark=text,
        own=OWN,
        baselines=(Score(text, 91.6, 88.8, 93.7, 500),),
        sentence=text,
        figures={"score": "90.0 %"},
        breakdowns={text: (Score(text, 50.0, 10.0, 90.0, 3),)},
        tables=(),
        overlap=text,
        charts=(),
        flips=(Flips(text, (Flip(sample, sample),), 2),),
        samples=(sample,),
        samples_total=500,
        protocol={"systemPrompt": text},
    )


class Structure(HTMLParser):
    """The tags and attributes of a page, without its texts, and what is in its scripts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, tuple[str, ...]]] = []
        self.texts: list[str] = []
        self.scripts: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, tuple(name for name, _ in attrs)))

    def handle_endtag(self, tag: str) -> None:
        self.tags.append((f"/{tag}", ()))

    def handle_comment(self, data: str) -> None:
        self.tags.append(("!--", (data,)))

    def handle_data(self, data: str) -> None:
        (self.scripts if self.tags and self.tags[-1][0] == "script" else self.texts).append(data)


PLAIN = Structure(render_page(report("plain")))


@given(NASTY)
def test_no_text_of_a_model_becomes_markup_or_script(text: str) -> None:
    page = Structure(render_page(report(text)))
    assert page.tags == PLAIN.tags
    assert page.scripts == PLAIN.scripts


def test_the_page_needs_nothing_else_and_says_what_it_leaves_out() -> None:
    page = render_page(report("x" * 10_000))
    assert not re.search(r"https?:|src=|url\(|<link|@import", page)
    assert "1 of 500 shown" in page
    assert "1 of 2 problems on which the two differ" in page
    assert "[… 4,500 characters are left out here …]" in page
    assert len(shortened("x" * 10**6)) < 6_000


@given(NASTY.filter(lambda text: text.strip() != ""))
def test_no_text_breaks_the_table_of_a_model_card(text: str) -> None:
    lines = render_card(report(text)).splitlines()
    cells = [len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) for line in lines]
    assert cells[:4] == [5, 5, 5, 5]
    assert not re.search(r"<(?!/?sub)", "".join(lines))


def test_the_card_has_the_highest_score_first_and_ours_in_bold() -> None:
    assert render_card(report("other")).splitlines()[2:4] == [
        "| other | 91.6 | 88.8 to 93.7 | 500 |",
        "| **ours** | 90.0 | 87.1 to 92.3 | 500 |",
    ]


def test_everything_is_within_the_axis() -> None:
    for low, score, high in ((0.0, 0.0, 1.2), (99.0, 100.0, 100.0), (0.0, 50.0, 100.0), (50.0, 50.0, 50.0)):
        drawn = forest_plot.draw(Score("a", score, low, high, 30), ())
        places = [
            float(place) for place in re.findall(r"left:([\d.-]+)%|[MH]([\d.-]+) ?", drawn) for place in place if place
        ]
        assert places
        assert all(0 <= place <= 100 for place in places), drawn
