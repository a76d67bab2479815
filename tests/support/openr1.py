"""What the recipe OpenR1-Qwen-7B reads, small: rows as in OpenR1-Math-220k, problems as in MATH-500, a tiny Qwen2.5."""

import json
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from support import chat_tokenizers, student
from tokenizers import Tokenizer

ROWS = 40
REJECTED: Mapping[str, int] = {"incorrect": ROWS - 2, "truncated": 2}
"""Of each row one generation."""
TOO_LONG = 1
"""Of those that are right."""
PROBLEMS = 6
MODEL = "models/qwen2.5-math-7b-32k"
"""Where the example's README has the base model put."""
_CARD = """---
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
---
"""
_TURN = pa.struct([("content", pa.string()), ("role", pa.string())])
_SCHEMA = pa.schema(
    [
        ("problem", pa.string()),
        ("solution", pa.string()),
        ("answer", pa.string()),
        ("problem_type", pa.string()),
        ("question_type", pa.string()),
        ("source", pa.string()),
        ("uuid", pa.string()),
        ("is_reasoning_complete", pa.list_(pa.bool_())),
        ("generations", pa.list_(pa.string())),
        ("correctness_math_verify", pa.list_(pa.bool_())),
        ("correctness_llama", pa.list_(pa.bool_())),
        ("finish_reasons", pa.list_(pa.string())),
        ("correctness_count", pa.int64()),
        ("messages", pa.list_(_TURN)),
    ]
)


def write_inputs(claim: Path) -> None:
    """Write all of it below the claim, each where the objects look for it."""
    _write_rows(claim / "inputs/OpenR1-Math-220k")
    _write_problems(claim / "inputs/math-500.jsonl")
    _write_model(claim / MODEL)


def _write_rows(directory: Path) -> None:
    """Write the subset that is read unless another is named, and one that is not to be read."""
    rows = [_row(number) for number in range(ROWS)]
    for subset in ("data", "all"):
        (directory / subset).mkdir(parents=True)
        table = pa.Table.from_pylist(rows if subset == "data" else rows * 2, schema=_SCHEMA)
        pq.write_table(table, directory / subset / "train-00000-of-00001.parquet")
    (directory / "README.md").write_text(_CARD)


def _row(number: int) -> dict[str, Any]:
    """Give a row with a right and a wrong generation; of the second and third the wrong one is cut off, of the first
    the right one is long."""
    right, wrong = number + 12, number + 13
    thought = "Add the ones, then the tens. " * (40 if number == 0 else 1)
    cut_off = number in (1, 2)
    problem = f"What is {number} + 12?"
    generations = [
        f"<think>\n{thought}\n</think>\n\nIt is \\boxed{{{right}}}.",
        "<think>\nAdd the ones, then" if cut_off else f"<think>\nAdd.\n</think>\n\nIt is \\boxed{{{wrong}}}.",
    ]
    return {
        "problem": problem,
        "solution": f"The sum is ${right}$.",
        "answer": str(right),
        "problem_type": "Algebra",
        "question_type": "math-word-problem",
        "source": "olympiads" if number % 2 else "cn_contest",
        "uuid": str(uuid.uuid5(uuid.NAMESPACE_OID, problem)),
        "is_reasoning_complete": [True, not cut_off],
        "generations": generations,
        "correctness_math_verify": [True, False],
        "correctness_llama": None,
        "finish_reasons": None if number % 2 else ["stop", "length" if cut_off else "stop"],
        "correctness_count": 1,
        "messages": [{"role": "user", "content": problem}, {"role": "assistant", "content": generations[0]}],
    }


def _write_problems(path: Path) -> None:
    subjects = ("Algebra", "Number Theory", "Geometry")
    rows = [
        {
            "problem": f"What is {number} + {number}?",
            "solution": f"It is $\\boxed{{{2 * number}}}$.",
            "answer": str(2 * number),
            "subject": subjects[number % len(subjects)],
            "level": 1 + number % 5,
            "unique_id": f"test/sums/{number}.json",
        }
        for number in range(PROBLEMS)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def _write_model(directory: Path) -> None:
    """Write weights, tokenizer, and the config.json that the example's README asks for: two lines of it are changed."""
    chat_tokenizers.write_tokenizer(directory, chat_tokenizers.QWEN_2_5)
    student.write_student(
        directory,
        num_hidden_layers=1,
        num_attention_heads=8,
        num_key_value_heads=4,
        tie_word_embeddings=False,
        vocab_size=Tokenizer.from_file(str(directory / "tokenizer.json")).get_vocab_size(),
        max_position_embeddings=131072,
        rope_theta=300000.0,
    )
    student.write_weights(directory)
