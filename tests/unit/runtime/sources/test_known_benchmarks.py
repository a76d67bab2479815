"""The benchmarks that have a name, read from a hub that has a row of each, in the shape of the published file."""

import csv
import io
import json
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest
from support.hub import Repository, hub

from distill_runtime.contract import PromptSource
from distill_runtime.contract.benchmarks import known_benchmarks
from distill_runtime.sources.prompts import open_prompts
from distill_runtime.storage.volume import Volume

ROWS: dict[str, dict[str, Any]] = {
    "math-500": {"problem": "p", "solution": "s", "answer": r"\frac{1}{2}", "subject": "Algebra", "level": 2},
    "aime-2024": {"id": 60, "problem": "p", "solution": "s", "answer": "025", "url": "u", "year": "2024"},
    "aime-2025": {"problem": "p", "answer": "70", "id": "0"},
    "gsm8k": {"question": "p", "answer": "500 + 734 = <<500+734=1,234>>1,234\n#### 1,234"},
    "gpqa-diamond": {
        "Pre-Revision Question": "old",
        "Question": "p, {choices}",
        "Correct Answer": "right\n",
        "Incorrect Answer 1": "wrong",
        "Incorrect Answer 2": "also, wrong",
        "Incorrect Answer 3": '"wrong"\ntoo',
        "Record ID": "rec06",
    },
}
ANSWERS = {"math-500": r"\frac{1}{2}", "aime-2024": "025", "aime-2025": "70", "gsm8k": "1,234"}


def written(name: str, row: dict[str, Any]) -> bytes:
    if name.endswith(".parquet"):
        content = io.BytesIO()
        pa.parquet.write_table(pa.Table.from_pylist([row]), content)
        return content.getvalue()
    if name.endswith(".csv"):
        text = io.StringIO()
        writer = csv.DictWriter(text, row)
        writer.writeheader()
        writer.writerow(row)
        return text.getvalue().encode()
    return json.dumps(row).encode()


@pytest.mark.parametrize("name", known_benchmarks())
def test_a_known_benchmark_is_read(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = known_benchmarks()[name].table
    found = re.fullmatch(r"hf://([^/]+/[^/]+)@([0-9a-f]{40})/(.+)", table.uri)
    assert found is not None
    repository, revision, path = found.groups()
    with hub(Repository(repository, {path: written(path, ROWS[name])}, revision=revision)) as endpoint:
        monkeypatch.setenv("HF_ENDPOINT", endpoint)
        source = PromptSource.model_validate(table.model_dump())
        (prompt,) = open_prompts(source, Volume(tmp_path)).read(0, 1, frozenset())
    if name == "gpqa-diamond":
        choices = dict(line.split(") ", 1) for line in prompt.text.splitlines() if line[1:2] == ")")
        assert choices[prompt.answer] == "right"
        assert sorted(choices) == ["A", "B", "C", "D"]
        assert prompt.text.startswith("p, {choices}\n\nA) ")
        assert prompt.text.endswith("\n\nAnswer with the letter of the right choice.")
    else:
        assert (prompt.text, prompt.answer) == ("p", ANSWERS[name])
