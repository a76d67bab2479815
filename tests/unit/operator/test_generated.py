"""crds/, the chart's copy and the reference page are what the models generate."""

from pathlib import Path

import pytest

from distill_operator.api import KINDS
from distill_operator.api.__main__ import generated_files, main
from distill_operator.api.reference import reference_page

ROOT = Path(__file__).parents[3]
FILES = generated_files()


@pytest.mark.parametrize("path", FILES)
def test_generated_file_is_up_to_date(path: str) -> None:
    assert (ROOT / path).read_text(encoding="utf-8") == FILES[path], "run `make generate`"


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr("sys.argv", ["distill_operator.api", *arguments])
    return main()


def test_check_names_each_file_that_is_out_of_date_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, str(tmp_path), "--check") == 1
    said = capsys.readouterr().err
    assert all(f"{path} is out of date: run `make generate`" in said for path in FILES)
    assert list(tmp_path.iterdir()) == []


def test_writing_makes_the_check_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(monkeypatch, str(tmp_path)) == 0
    assert run(monkeypatch, str(tmp_path), "--check") == 0


class TestReferencePage:
    page = reference_page(list(KINDS.values()))

    @pytest.mark.parametrize("kind", KINDS)
    def test_has_a_section_for_each_kind(self, kind: str) -> None:
        assert f"\n## {kind}\n" in self.page

    @pytest.mark.parametrize(
        "row",
        [
            "| `spec.teacher.model` | string | required |",
            "| `spec.teacher.sampling.topP` | number 0–1 | `0.95` |",
            "| `spec.filter.keep` | `all`, `first`, `shortest`, `longest` | `all` |",
            "| `spec.suspend` | boolean | `false` |",
            "| `status.stages[].counts` | map of integer |  |",
        ],
    )
    def test_shows_type_range_and_default(self, row: str) -> None:
        assert row in self.page

    def test_lists_what_the_api_server_refuses(self) -> None:
        assert "- spec.target: set exactly one of finetuneRef, model, endpoint" in self.page
