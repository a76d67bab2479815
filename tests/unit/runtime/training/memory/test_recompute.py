"""Which layers are computed again, as MindFormers reads its recompute_config."""

from copy import deepcopy
from typing import Any

import pytest

from distill_runtime.foundation.errors import WrongInput
from distill_runtime.training.memory.recompute import read_stages

MUL, SILU = r"feed_forward\.mul", r"feed_forward\.w1\.activation\.silu"


def stages(recompute: dict[str, Any], offset: object = 0, pipeline: int = 2) -> list[tuple[int, int, int, int]]:
    return [
        (each.layers, each.recomputed, each.activation_recomputed, each.communication_recomputed)
        for each in read_stages({"num_layers": 28, "offset": offset}, recompute, pipeline)
    ]


@pytest.mark.parametrize(
    ("recompute", "expected"),
    [
        ({}, [(14, 0, 0, 0), (14, 0, 0, 0)]),
        ({"recompute": True}, [(14, 14, 0, 0), (14, 14, 0, 0)]),
        ({"recompute": [4, 0]}, [(14, 4, 0, 0), (14, 0, 0, 0)]),
        ({"recompute": [True, 99]}, [(14, 14, 0, 0), (14, 14, 0, 0)]),
        ({"select_recompute": True}, [(14, 0, 14, 0), (14, 0, 14, 0)]),
        ({"recompute": [4, 0], "select_recompute": True}, [(14, 4, 10, 0), (14, 0, 14, 0)]),
        ({"select_recompute": [MUL, SILU]}, [(14, 0, 14, 0), (14, 0, 14, 0)]),
        ({"select_recompute": [r"mlp\.mul", r"mlp\.activation_func\.silu"]}, [(14, 0, 14, 0), (14, 0, 14, 0)]),
        ({"select_recompute": [MUL]}, [(14, 0, 0, 0), (14, 0, 0, 0)]),
        ({"select_recompute": {MUL: [5, 2], SILU: [5, 2]}}, [(14, 0, 5, 0), (14, 0, 2, 0)]),
        ({"select_comm_recompute": [3, 1]}, [(14, 0, 0, 3), (14, 0, 0, 1)]),
        ({"select_comm_recompute": {r".*\.norm": [3, 1]}}, [(14, 0, 0, 3), (14, 0, 0, 1)]),
    ],
)
def test_layers_of_each_stage(recompute: dict[str, Any], expected: list[tuple[int, int, int, int]]) -> None:
    assert stages(recompute) == expected


def test_an_offset_moves_layers_between_stages() -> None:
    assert [each[0] for each in stages({}, [-1, 1])] == [13, 15]


@pytest.mark.parametrize("value", ["yes", 3, [1], [1, 2, 3], [[1, 2], [1, 2]], ["a", 1], {}])
def test_what_mindformers_takes_for_no_recompute_is_refused(value: object) -> None:
    with pytest.raises(WrongInput, match=r"recompute_config\.recompute is .* one number for each .* has 2") as refused:
        stages({"recompute": value})
    assert refused.value.reason == "OverrideInvalid"


@pytest.mark.parametrize("offset", [[1], "1", [1, "2"]])
def test_an_offset_that_is_no_list_of_numbers_is_refused(offset: object) -> None:
    with pytest.raises(WrongInput, match=r"model\.model_config\.offset"):
        stages({}, offset)


@pytest.mark.mindspore
@pytest.mark.parametrize("recompute", [[4, 0], [True, False], [20, 3], True])
def test_mindformers_reads_it_so_and_mp_comm_recompute_not_at_all(recompute: list[int] | bool) -> None:
    """By its own `LayerSetting`, with layers that note what is set on them."""
    from mindformers.modules.transformer.transformer import (  # noqa: PLC0415
        TransformerOpParallelConfig,
        TransformerRecomputeConfig,
    )
    from mindformers.parallel_core.training_graph.transformer.utils import LayerSetting  # noqa: PLC0415

    class Layer:
        pipeline_stage = 0
        recomputed = False

        def set_comm_fusion(self, _: int) -> None:
            """Needed to be taken for a layer."""

        def recompute(self, **options: bool) -> None:
            self.recomputed = True
            asked_for.update(options)

    asked_for: dict[str, bool] = {}
    config = TransformerOpParallelConfig(
        pipeline_stage=2, recompute=TransformerRecomputeConfig(recompute=deepcopy(recompute), mp_comm_recompute=False)
    )
    setting = LayerSetting(28, 0, config)
    found = [0, 0]
    for number in range(28):
        layer = Layer()
        setting(layer, number)
        found[layer.pipeline_stage] += layer.recomputed
    assert found == [each.recomputed for each in read_stages({"num_layers": 28}, {"recompute": recompute}, 2)]
    assert "mp_comm_recompute" not in asked_for
