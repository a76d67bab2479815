"""Write the inputs of the arithmetic example: prompts, a benchmark, and a student that knows nothing yet.

    python inputs.py DIRECTORY

* `prompts.jsonl`: problems with reference answers, for the DistillDataset.
* `benchmark.jsonl`: other problems, for the EvalRun; the two have none in common.
* `student/`: config.json of a 2-layer model shaped like Qwen2.5, and its tokenizer. There are no weights: the
  FinetuneRun starts from random ones.

The files are the same, byte for byte, at every run.
"""

import argparse
import json
import random
import uuid
from collections.abc import Iterable
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from rules import Addition, Outcome, work_out

SEED = 0
PROMPTS = 7600
BENCHMARK = 250
TOKENIZER_TEXTS = 500
VOCABULARY_LIMIT = 400
MAX_POSITIONS = 256

PAD, START, END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
SPECIAL_TOKENS = (PAD, START, END)
SYSTEM_PROMPT = "Please reason step by step, and put your final answer within \\boxed{}."
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
# How Qwen2's own tokenizer.json splits text before the merges: every digit is a token of its own.
PRE_TOKENIZER = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def split_additions() -> tuple[list[Addition], list[Addition]]:
    """Give the additions of the prompts and those of the benchmark: all different."""
    additions = [Addition(first, second) for first in range(10, 100) for second in range(10, 100)]
    random.Random(SEED).shuffle(additions)
    return additions[:PROMPTS], additions[PROMPTS : PROMPTS + BENCHMARK]


def rows(additions: Iterable[Addition]) -> str:
    """Write additions as JSON lines."""
    return "".join(
        json.dumps(
            {
                "problem": addition.problem,
                "answer": addition.answer,
                "uuid": str(uuid.uuid5(uuid.NAMESPACE_OID, addition.problem)),
            }
        )
        + "\n"
        for addition in additions
    )


def train_tokenizer(additions: Iterable[Addition]) -> Tokenizer:
    """Train a byte-level BPE tokenizer like Qwen2's on right answers to some additions."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PRE_TOKENIZER), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY_LIMIT,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator((_transcript(addition) for addition in additions), trainer)
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL_TOKENS])
    return tokenizer


def _transcript(addition: Addition) -> str:
    answer = work_out(addition, Outcome.RIGHT, max_tokens=MAX_POSITIONS)
    return (
        f"system\n{SYSTEM_PROMPT}\nuser\n{addition.problem}\n"
        f"assistant\n<think>\n{answer.reasoning}\n</think>\n\n{answer.content}\n"
    )


def model_config(tokenizer: Tokenizer) -> dict[str, object]:
    """Give the student's config.json: 0.23 million parameters, shaped like Qwen2.5.

    Two values differ from Qwen2.5's, so that it learns in a few hundred steps. It has to find digits that are so many
    tokens back: with a small theta, more of a head's 32 dimensions turn noticeably over such distances. And weights
    that are drawn as small as those of wide networks give a narrow one next to no signal at first.
    """
    return {
        "architectures": ["Qwen2ForCausalLM"],
        "model_type": "qwen2",
        "hidden_size": 96,
        "intermediate_size": 256,
        "num_hidden_layers": 2,
        "num_attention_heads": 3,
        "num_key_value_heads": 1,
        "hidden_act": "silu",
        "initializer_range": 0.08,
        "max_position_embeddings": MAX_POSITIONS,
        "rms_norm_eps": 1e-6,
        "rope_theta": 100.0,
        "tie_word_embeddings": True,
        "torch_dtype": "float32",
        "vocab_size": tokenizer.get_vocab_size(),
        "bos_token_id": tokenizer.token_to_id(PAD),
        "eos_token_id": tokenizer.token_to_id(END),
        "pad_token_id": tokenizer.token_to_id(PAD),
    }


def tokenizer_config(tokenizer: Tokenizer) -> dict[str, object]:
    """Give the student's tokenizer_config.json, with the chat template."""
    return {
        "tokenizer_class": "Qwen2Tokenizer",
        "added_tokens_decoder": {
            str(tokenizer.token_to_id(token)): {
                "content": token,
                "lstrip": False,
                "normalized": False,
                "rstrip": False,
                "single_word": False,
                "special": True,
            }
            for token in SPECIAL_TOKENS
        },
        "additional_special_tokens": [START, END],
        "add_bos_token": False,
        "add_prefix_space": False,
        "bos_token": None,
        "chat_template": CHAT_TEMPLATE,
        "clean_up_tokenization_spaces": False,
        "eos_token": END,
        "errors": "replace",
        "model_max_length": MAX_POSITIONS,
        "pad_token": PAD,
        "split_special_tokens": False,
        "unk_token": None,
    }


def write_inputs(directory: Path) -> None:
    """Write all inputs under a directory, which is made if need be."""
    prompts, benchmark = split_additions()
    student = directory / "student"
    student.mkdir(parents=True, exist_ok=True)
    (directory / "prompts.jsonl").write_text(rows(prompts), encoding="utf-8")
    (directory / "benchmark.jsonl").write_text(rows(benchmark), encoding="utf-8")
    tokenizer = train_tokenizer(prompts[:TOKENIZER_TEXTS])
    tokenizer.save(str(student / "tokenizer.json"))
    tokenizer.model.save(str(student))  # vocab.json and merges.txt, which Qwen2's slow tokenizer reads
    for name, content in (
        ("config.json", model_config(tokenizer)),
        ("tokenizer_config.json", tokenizer_config(tokenizer)),
    ):
        (student / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def main() -> None:
    """Write the inputs into the directory named on the command line."""
    parser = argparse.ArgumentParser(description="Write the inputs of the arithmetic example.")
    parser.add_argument("directory", type=Path, help="where to write them")
    directory = parser.parse_args().directory
    write_inputs(directory)
    print(f"{directory}: {PROMPTS} prompts, {BENCHMARK} problems of a benchmark, and a student without weights")


if __name__ == "__main__":
    main()
