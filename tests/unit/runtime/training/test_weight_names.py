"""Names and shapes of weights on both sides."""

import pytest
from support.student import CONFIG

from distill_runtime.foundation.errors import WrongInput
from distill_runtime.training.architecture import Architecture
from distill_runtime.training.weight_names import check_shapes, expected_shapes, to_huggingface, to_mindformers

TIED = Architecture.model_validate(CONFIG)
UNTIED = Architecture.model_validate(CONFIG | {"tie_word_embeddings": False})


@pytest.mark.parametrize(
    ("huggingface", "mindformers"),
    [
        ("model.embed_tokens.weight", "model.tok_embeddings.embedding_weight"),
        ("model.layers.11.self_attn.q_proj.bias", "model.layers.11.attention.wq.bias"),
        ("model.layers.0.mlp.down_proj.weight", "model.layers.0.feed_forward.w2.weight"),
        ("model.layers.0.post_attention_layernorm.weight", "model.layers.0.ffn_norm.weight"),
        ("model.norm.weight", "model.norm_out.weight"),
        ("lm_head.weight", "lm_head.weight"),
    ],
)
def test_a_name_on_both_sides(huggingface: str, mindformers: str) -> None:
    assert to_mindformers(huggingface) == mindformers
    assert to_huggingface(mindformers) == huggingface


@pytest.mark.parametrize("architecture", [TIED, UNTIED])
def test_every_expected_name_goes_there_and_back(architecture: Architecture) -> None:
    for name in expected_shapes(architecture):
        assert to_huggingface(to_mindformers(name)) == name


@pytest.mark.parametrize("name", ["adam_m.model.norm_out.weight", "global_step", "loss_scale", "learning_rate"])
def test_states_of_training_are_no_weights(name: str) -> None:
    with pytest.raises(KeyError):
        to_huggingface(name)


def test_a_tied_model_may_come_with_its_head_or_without() -> None:
    shapes = expected_shapes(TIED)
    check_shapes(shapes, TIED, "here")
    check_shapes({**shapes, "lm_head.weight": (512, 32)}, TIED, "here")
    with pytest.raises(WrongInput, match=r"missing lm_head\.weight"):
        check_shapes(shapes, UNTIED, "here")


def test_what_is_missing_unexpected_or_of_another_shape_is_named() -> None:
    shapes = expected_shapes(TIED)
    del shapes["model.norm.weight"]
    shapes["model.layers.0.self_attn.q_norm.weight"] = (8,)
    shapes["model.layers.1.self_attn.k_proj.weight"] = (32, 32)
    with pytest.raises(WrongInput) as refused:
        check_shapes(shapes, TIED, "models/student")
    assert refused.value.reason == "WeightsMismatch"
    for part in (
        "missing model.norm.weight",
        "unexpected model.layers.0.self_attn.q_norm.weight",
        "model.layers.1.self_attn.k_proj.weight is (32, 32), config.json says (16, 32)",
        "models/student",
    ):
        assert part in refused.value.message
