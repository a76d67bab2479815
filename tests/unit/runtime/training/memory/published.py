"""Published MindFormers configurations as the estimate reads them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from distill_runtime.training.memory.estimate import Estimate, estimate_memory
from distill_runtime.training.memory.plan import MemoryPlan, read_plan

PAGE = Path(__file__).parent / "published.yaml"


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
        return self.estimate.pool / self.plan.pool


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
