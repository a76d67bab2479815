"""What the stage's own server may be asked, and what it refuses."""

import pytest
from support.architectures import QWEN_2_5_7B

from distill_runtime.contract import Protocol
from distill_runtime.contract.stages import DeviceTarget
from distill_runtime.foundation.errors import WrongInput
from distill_runtime.serving.limits import check_servable
from distill_runtime.training.architecture import Architecture

ARITHMETIC = Architecture(
    model_type="qwen2",
    hidden_size=128,
    intermediate_size=384,
    num_hidden_layers=3,
    num_attention_heads=4,
    num_key_value_heads=2,
    vocab_size=512,
    max_position_embeddings=512,
    rms_norm_eps=1e-6,
)


@pytest.mark.parametrize(
    ("architecture", "target", "batch_size", "max_tokens"),
    [
        (ARITHMETIC, "CPU", 64, 96),
        (ARITHMETIC, "CPU", 64, 32768),  # it has no positions for more than 512
        (QWEN_2_5_7B, "Ascend", 64, 512),
        (QWEN_2_5_7B, "Ascend", 8, 2048),
    ],
)
def test_what_can_be_served(architecture: Architecture, target: DeviceTarget, batch_size: int, max_tokens: int) -> None:
    check_servable(architecture, Protocol(max_tokens=max_tokens), target, batch_size, cpus=1)


@pytest.mark.parametrize(
    ("target", "batch_size", "max_tokens", "said"),
    [
        ("Ascend", 64, 32768, "64 answers of 32768 tokens by a model of 7,615.6 M parameters take it 1,4"),
        ("Ascend", 64, 2048, "take it 5.7 h at best, a request may take 1.0 h"),
        ("CPU", 1, 2048, "lower protocol.maxTokens"),
    ],
)
def test_what_would_outlast_its_requests_is_refused(
    target: DeviceTarget, batch_size: int, max_tokens: int, said: str
) -> None:
    with pytest.raises(WrongInput) as refused:
        check_servable(QWEN_2_5_7B, Protocol(max_tokens=max_tokens), target, batch_size, cpus=1)
    assert refused.value.reason == "TooLargeToServe"
    assert said in refused.value.message
    assert "spec.serve: {server: vllm-ascend}" in refused.value.message


def test_more_time_or_more_processors_are_taken_into_account() -> None:
    check_servable(QWEN_2_5_7B, Protocol(max_tokens=2048, request_timeout_seconds=86_400), "Ascend", 64, cpus=1)
    check_servable(QWEN_2_5_7B, Protocol(max_tokens=256), "CPU", 8, cpus=32)
    with pytest.raises(WrongInput):
        check_servable(QWEN_2_5_7B, Protocol(max_tokens=256), "CPU", 8, cpus=1)
