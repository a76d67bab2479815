"""Published MindFormers configurations as the estimate reads them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from distill_runtime.training.memory.estimate import Estimate, estimate_memory
from distill_runtime.training.memory.fitting import TOLERANCE
from distill_runtime.training.memory.plan import MemoryPlan, read_plan
from distill_runtime.training.memory.recompute import StageLayers

PAGE = Path(__file__).parent / "published.yaml"
MET = "met within 15 %"
NEEDS_ITS_RECOMPUTE = "fits, and would not if nothing were computed again"
NOTHING_AGAIN = "fits with nothing computed again"
ROOM = "has room left"


@dataclass(frozen=True)
class Published:
    """A configuration, and where it is published."""

    source: str
    plan: MemoryPlan

    @property
    def name(self) -> str:
        """The last part of its path."""
        return self.source.partition(" (")[0].rpartition("/")[2].removesuffix(".yaml")

    @property
    def estimate(self) -> Estimate:
        """What a device is estimated to need."""
        return estimate_memory(self.plan)

    @property
    def share(self) -> float:
        """The estimate, in parts of the memory that the configuration names."""
        return self._share(self.plan)

    @property
    def relation(self) -> str:
        """How the estimate stands to the memory that the configuration names.

        What is named is a limit. It is all used only where somebody has computed as little again as it allows; a
        coarser choice, all layers or none, uses what it happens to.
        """
        nothing_again = tuple(StageLayers(stage.layers, 0, 0, 0) for stage in self.plan.stages)
        if abs(self.share - 1) <= TOLERANCE:
            return MET
        if self.plan.stages == nothing_again:
            return NOTHING_AGAIN
        return NEEDS_ITS_RECOMPUTE if self._share(replace(self.plan, stages=nothing_again)) > 1 else ROOM

    @property
    def layers_are_chosen(self) -> bool:
        """Whether somebody has chosen, stage by stage, how many layers are computed again."""
        return any(
            0 < again < stage.layers
            for stage in self.plan.stages
            for again in (stage.recomputed, stage.activation_recomputed, stage.communication_recomputed)
        )

    @staticmethod
    def _share(plan: MemoryPlan) -> float:
        return estimate_memory(plan).pool / plan.pool


def read_published() -> list[Published]:
    """Read the page."""
    return [Published(row["source"], read_plan(_configuration(row))) for row in yaml.safe_load(PAGE.read_text())]


def _configuration(row: Mapping[str, Any]) -> dict[str, Any]:
    """Give the YAML that a row stands for."""
    parallel: dict[str, Any] = {"enable_parallel_optimizer": row["optimizer_parallel"]}
    parallel["parallel_optimizer_config"] = {"gradient_accumulation_shard": False}
    dataset = {"input_columns": ["attention_mask"], "data_loader": {"adaptor_config": {"compress_mask": False}}}
    return {
        "use_legacy": row.get("use_legacy", True),
        "runner_config": {"batch_size": row["batch_size"]},
        "train_dataset": dataset if row.get("mask_from_data") else {},
        "parallel": parallel,
        "parallel_config": row["parallel"],
        "micro_batch_interleave_num": row.get("micro_batch_interleave_num", 1),
        "recompute_config": row["recompute"],
        "context": {"max_device_memory": row["max_device_memory"]},
        "model": {"model_config": row["model"]},
    }
