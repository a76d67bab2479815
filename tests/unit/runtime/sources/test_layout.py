import pytest

from distill_runtime.foundation.errors import WrongInput
from distill_runtime.sources.layout import Selection, choose_files

OPEN_R1 = """---
license: apache-2.0
configs:
- config_name: all
  data_files:
  - split: train
    path: all/train-*
- config_name: default
  data_files:
  - split: train
    path: data/train-*
  - split: test
    path: [data/test-*, more/test-*]
---
# A data set
"""
NAMES = [
    "all/train-00000-of-00002.parquet",
    "all/train-00001-of-00002.parquet",
    "data/test-00000-of-00001.parquet",
    "data/train-00000-of-00001.parquet",
    "more/test-x.parquet",
]


@pytest.mark.parametrize(
    ("selection", "chosen"),
    [
        (Selection(), ["data/train-00000-of-00001.parquet"]),
        (Selection(subset="all"), ["all/train-00000-of-00002.parquet", "all/train-00001-of-00002.parquet"]),
        (Selection(split="test"), ["data/test-00000-of-00001.parquet", "more/test-x.parquet"]),
    ],
)
def test_a_readme_declares_subsets_and_splits(selection: Selection, chosen: list[str]) -> None:
    assert choose_files("hf://o/n", NAMES, OPEN_R1, selection) == chosen


@pytest.mark.parametrize(
    ("selection", "reason", "message"),
    [
        (Selection(subset="x"), "SubsetMissing", "has no subset 'x'; name one of all, default"),
        (Selection(split="dev"), "SplitMissing", "has no split 'dev'; it has train, test"),
    ],
)
def test_what_a_readme_does_not_declare_is_missed(selection: Selection, reason: str, message: str) -> None:
    with pytest.raises(WrongInput, match=message) as error:
        choose_files("hf://o/n", NAMES, OPEN_R1, selection)
    assert error.value.reason == reason


def readme(*configurations: str) -> str:
    return "---\nconfigs:\n" + "".join(f"- {each}\n" for each in configurations) + "---\n"


def test_of_several_subsets_without_a_default_one_must_be_named() -> None:
    text = readme("{config_name: a, data_files: a.jsonl}", "{config_name: b, data_files: b.jsonl}")
    with pytest.raises(WrongInput, match="several subsets and no default one; name one of a, b"):
        choose_files("hf://o/n", ["a.jsonl", "b.jsonl"], text, Selection())
    marked = text.replace("config_name: b", "config_name: b, default: true")
    assert choose_files("hf://o/n", ["a.jsonl", "b.jsonl"], marked, Selection()) == ["b.jsonl"]


def test_the_only_split_is_taken_whatever_its_name() -> None:
    text = readme("{data_files: [{split: test, path: test.jsonl}]}")
    assert choose_files("hf://o/n", ["test.jsonl", "x.jsonl"], text, Selection()) == ["test.jsonl"]


@pytest.mark.parametrize("text", ["", "# Nothing\n", "---\nlicense: mit\n---\n", "---\njust text\n---\n"])
@pytest.mark.parametrize(
    ("names", "selection", "chosen"),
    [
        (["data/train-0.parquet", "data/test-0.parquet"], Selection(), ["data/train-0.parquet"]),
        (["train.jsonl", "test.jsonl"], Selection(split="test"), ["test.jsonl"]),
        (["train/a.jsonl", "dev/a.jsonl"], Selection(split="dev"), ["dev/a.jsonl"]),
        (["main/train.jsonl", "socratic/train.jsonl"], Selection("main"), ["main/train.jsonl"]),
        (["problems.jsonl"], Selection(), ["problems.jsonl"]),
        (["contest.jsonl", "training.jsonl"], Selection(), ["contest.jsonl", "training.jsonl"]),
    ],
)
def test_without_a_declaration_the_names_tell(
    text: str, names: list[str], selection: Selection, chosen: list[str]
) -> None:
    assert choose_files("hf://o/n", names, text, selection) == chosen


def test_a_split_that_no_name_tells_of_is_missed() -> None:
    with pytest.raises(WrongInput, match=r"no file of a split 'test'; it has contest\.jsonl"):
        choose_files("hf://o/n", ["contest.jsonl"], "", Selection(split="test"))
