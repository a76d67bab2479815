"""What does not divide evenly is said before NPUs are held, with a value that does."""

import logging

import pytest
from support.architectures import QWEN_2_5_7B, QWEN_3_8B
from support.student import train_contract

from distill_runtime.contract import ArtifactReference, Parallelism
from distill_runtime.foundation.errors import WrongInput
from distill_runtime.training.architecture import Architecture
from distill_runtime.training.divisions import check_divisions, warn_of_vocabulary

DATASET = ArtifactReference(uri="packed", digest="sha256:" + "0" * 64)
ULYSSES = {"parallel_config": {"context_parallel_algo": "ulysses_cp"}}
HYBRID = {"parallel_config": {"context_parallel_algo": "hybrid_cp", "ulysses_degree_in_cp": 2}}


def check(parallelism: Parallelism, sequence_length: int = 32768, **changes: object) -> None:
    contract = train_contract(DATASET, parallelism=parallelism, device_target="Ascend", **changes)
    check_divisions(contract, QWEN_2_5_7B, sequence_length)


@pytest.mark.parametrize(
    ("parallelism", "overrides"),
    [
        (Parallelism(tensor=4, pipeline=2, sequence=True, micro_batches=8), {}),  # the seed's first YAML
        (Parallelism(tensor=4, context=2, micro_batches=4), {}),  # its second
        (Parallelism(tensor=2, context=2), ULYSSES),
        (Parallelism(tensor=2, context=4), HYBRID),
        (Parallelism(tensor=4), ULYSSES),  # without context parallelism it has no effect
    ],
)
def test_what_divides_evenly(parallelism: Parallelism, overrides: dict[str, object]) -> None:
    check(parallelism, mindformers=overrides)


@pytest.mark.parametrize(
    ("parallelism", "overrides", "said"),
    [
        (Parallelism(tensor=8), {}, "num_attention_heads 28, which parallelism.tensor 8 does not divide"),
        (Parallelism(tensor=7), {}, "num_key_value_heads 4, which parallelism.tensor 7 does not divide"),
        (Parallelism(tensor=4, context=2), ULYSSES, "num_attention_heads 28, which parallelism.tensor 4 x ulysses 2"),
        (Parallelism(tensor=1, context=7), ULYSSES, "num_key_value_heads 4, which parallelism.tensor 1 x ulysses 7"),
        (Parallelism(tensor=4, context=4), HYBRID, "context_parallel_algo at colossalai_cp"),
    ],
)
def test_heads_are_shared_evenly(parallelism: Parallelism, overrides: dict[str, object], said: str) -> None:
    with pytest.raises(WrongInput) as refused:
        check(parallelism, mindformers=overrides)
    assert refused.value.reason == "HeadsNotDivisible"
    assert said in refused.value.message


@pytest.mark.parametrize(
    ("parallelism", "sequence_length", "said"),
    [
        (
            Parallelism(context=3),
            32768,
            "which parallelism.context 3 does not divide; pack with a pack.sequenceLength ",
        ),
        (Parallelism(context=3), 32768, "that is a multiple of 48"),
        (
            Parallelism(tensor=4, context=8, sequence=True),
            16 * 1023,
            "x context 8, with sequence parallelism, does not",
        ),
        (Parallelism(tensor=4), 32760, "flash attention does not take: it is no multiple of 16"),
    ],
)
def test_sequences_are_cut_evenly(parallelism: Parallelism, sequence_length: int, said: str) -> None:
    with pytest.raises(WrongInput) as refused:
        check(parallelism, sequence_length)
    assert refused.value.reason == "SequenceNotDivisible"
    assert said in refused.value.message


def test_a_shared_sequence_needs_flash_attention() -> None:
    overrides = {"model": {"model_config": {"use_flash_attention": False}}}
    with pytest.raises(WrongInput) as refused:
        check(Parallelism(tensor=4, context=2), mindformers=overrides)
    assert refused.value.reason == "ContextNeedsFlashAttention"
    check(Parallelism(tensor=4), 32760, mindformers=overrides)


@pytest.mark.parametrize(
    ("architecture", "key", "width"),
    [
        (QWEN_2_5_7B, "intermediate_size", 18942),
        (QWEN_3_8B, "intermediate_size", 18942),
        (QWEN_3_8B, "vocab_size", 151665),
    ],
)
def test_a_width_is_shared_evenly(architecture: Architecture, key: str, width: int) -> None:
    contract = train_contract(DATASET, parallelism=Parallelism(tensor=4), device_target="Ascend")
    check_divisions(contract, architecture, 4096)
    with pytest.raises(WrongInput, match=f"has {key} {width}, which parallelism.tensor 4") as refused:
        check_divisions(contract, architecture.model_copy(update={key: width}), 4096)
    assert refused.value.reason == "WidthNotDivisible"


def test_a_vocabulary_that_is_not_shared_evenly_is_kept_whole(caplog: pytest.LogCaptureFixture) -> None:
    contract = train_contract(DATASET, parallelism=Parallelism(tensor=4), device_target="Ascend")
    with caplog.at_level(logging.WARNING):
        warn_of_vocabulary(contract, QWEN_2_5_7B)
        assert not caplog.text
        warn_of_vocabulary(contract, QWEN_2_5_7B.model_copy(update={"vocab_size": 151665}))
    assert "parallelism.tensor 4 does not divide vocab_size 151665" in caplog.text
