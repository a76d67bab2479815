"""What MindSpore and MindFormers need to run on a CPU (see `patching`).

Both are written for Ascend; on a CPU some places fail, and two are wrong without a word. Each patch below says what
fails, why, and what it does instead. They are for processes whose device target is CPU. Networks of the newer kind
(parallel_core) are made of operators that only an NPU has; for the five that Qwen3 needs there are others.

Measured with MindSpore 2.7.2 and MindFormers 1.8.0. A patch for a later version goes here too.
"""

from types import SimpleNamespace
from typing import Any, Final

from distill_runtime.training.patching import Patches


def check_overflow_with_is_finite(module: Any) -> None:
    """Detect overflow without NPUGetFloatStatusV2.

    TrainOneStepWithLossScaleCell asks the NPU's status register whether a kernel overflowed. There is no such kernel
    on CPU, so the first step fails to compile. The gradients themselves are looked at instead: a step overflowed if
    any of their elements, on any rank, is not finite.
    """
    from mindspore import ops  # noqa: PLC0415
    from mindspore.common import dtype  # noqa: PLC0415

    def count(gradient: Any) -> Any:
        return ops.ReduceSum()(1.0 - ops.Cast()(ops.IsFinite()(gradient), dtype.float32))

    not_finite = ops.MultitypeFuncGraph("elements_not_finite")
    not_finite.register("Tensor")(count)

    def get_overflow_status(self: Any, _status: Any, compute_output: Any) -> Any:
        total = ops.AddN()(self.hyper_map(not_finite, compute_output))
        if self.is_distributed:
            total = self.allreduce(total)
        return self.less_equal(self.base, total)

    module.TrainOneStepWithLossScaleCell.get_overflow_status = get_overflow_status


def add_attention_mask_as_penalty(module: Any) -> None:
    """Keep packed samples apart without flash attention.

    A packed data set brings a mask of 1 where attention is forbidden. Flash attention takes it so; without it
    LLamaAttention adds the mask to the scores as it is, so that each token attends, slightly preferred even, to what
    it must not see: later tokens and other samples. The mask is scaled to a penalty first. Masks that MindFormers
    makes itself are such penalties already, and of a floating type.
    """
    from mindspore.common import dtype  # noqa: PLC0415

    def attention(self: Any, query: Any, key: Any, value: Any, mask: Any) -> Any:
        score = self.mul(self.batch_matmul_q_k(query, key), self.inv_norm_factor)
        if mask.dtype == dtype.uint8:
            mask = self.cast(mask, dtype.float32) * -10000.0
        score = self.add(self.cast(mask, score.dtype), score)
        probabilities = self.softmax(self.cast_attn(score, self.softmax_dtype))
        return self._merge_heads(self.batch_matmul(self.cast(probabilities, self.dtype), value))

    module.LLamaAttention._attn = attention


def barrier_by_all_reduce(module: Any) -> None:
    """Wait for all ranks without a Barrier kernel.

    MCCL, the collective library for CPU, has none, and data loading calls it between ranks. Reducing one number over
    all ranks waits for all of them just as well.
    """
    import mindspore  # noqa: PLC0415
    import numpy  # noqa: PLC0415

    def barrier(*_arguments: Any, **_keywords: Any) -> None:
        mindspore.ops.AllReduce()(mindspore.Tensor(numpy.ones(1, numpy.float32))).asnumpy()

    module.barrier = barrier


def attend_without_flash_attention(module: Any) -> None:
    """Compute attention of the newer networks from matrix products.

    They have FlashAttention alone, a kernel of the NPU, also where use_flash_attention is off. What takes its place
    computes in the precision of its inputs. Where the mask is 1, attention is forbidden.
    """
    from mindspore import ops  # noqa: PLC0415
    from mindspore.common import dtype  # noqa: PLC0415

    def attend(self: Any, query: Any, key: Any, value: Any, attention_mask: Any) -> Any:
        """Give (tokens, rows, heads x size), of (tokens, rows, heads, size) with fewer heads of keys and values."""
        tokens, rows, heads, size = query.shape
        groups = key.shape[2]
        together = (rows, groups, heads // groups * tokens, -1)
        product = ops.BatchMatMul()(query.transpose((1, 2, 0, 3)).reshape(together), key.transpose((1, 2, 3, 0)))
        scores = product.reshape((rows, heads, tokens, tokens)) * (1.0 / size**0.5)
        penalty = ops.Cast()(attention_mask, dtype.float32) * -10000.0
        probabilities = ops.Softmax()(scores + penalty).reshape(together)
        mixed = ops.BatchMatMul()(probabilities, value.transpose((1, 2, 0, 3)))
        return mixed.reshape((rows, heads, tokens, size)).transpose((2, 0, 1, 3)).reshape((tokens, rows, heads * size))

    module.FlashAttention.construct = attend


def share_keys_and_values(module: Any) -> None:
    """Leave keys and values as few as they are, for `attend_without_flash_attention`; and see `split_by_slices`.

    Without flash attention the newer Attention repeats them as if heads came before tokens, which they do not, so that
    queries would meet the keys of other groups.
    """

    def as_they_are(self: Any, heads: Any, _times: Any) -> Any:
        return heads

    module.Attention._repeat_kv = as_they_are
    module.aclnn_ops = SimpleNamespace(**vars(module.aclnn_ops) | {"SplitWithSize": _split_by_slices()})


def split_by_slices(module: Any) -> None:
    """Take tensors apart without SplitWithSize, which has no kernel on CPU."""
    module.SplitWithSize = _split_by_slices()


def _split_by_slices() -> Any:
    from mindspore import nn  # noqa: PLC0415

    class SplitBySlices(nn.Cell):  # type: ignore[misc] # MindSpore has no types
        def construct(self, whole: Any, sizes: Any, _axis: Any) -> Any:
            """Give the parts along the last axis, the only one that it is asked for."""
            parts: tuple[Any, ...] = ()
            start = 0
            for size in sizes:
                parts += (whole[..., start : start + size],)
                start += size
            return parts

        def shard(self, *_strategies: Any) -> Any:
            return self

        def add_prim_attr(self, *_attribute: Any) -> Any:
            return self

    return SplitBySlices


def multiply_by_broadcasting(module: Any) -> None:
    """Multiply positions and frequencies without Outer, which has no kernel on CPU."""
    from mindspore import nn  # noqa: PLC0415

    class OuterByBroadcasting(nn.Cell):  # type: ignore[misc] # MindSpore has no types
        def construct(self, rows: Any, columns: Any) -> Any:
            return rows.reshape((-1, 1)) * columns.reshape((1, -1))

        def shard(self, *_strategies: Any) -> Any:
            return self

    module.Outer = OuterByBroadcasting


def norm_in_steps(module: Any) -> None:
    """Norm by RMSNorm, whose operators a CPU has, where the newer networks take RmsNorm whatever fused_norm says."""
    module.FusedRMSNorm = module.RMSNorm


def embed_by_gather(module: Any) -> None:
    """Embed by Gather; the gradient of the newer networks' Embedding, EmbeddingDenseBackward, has no kernel on CPU."""
    from mindspore import ops  # noqa: PLC0415

    def embed(self: Any, tokens: Any, weight: Any) -> Any:
        return ops.Gather()(weight, tokens, 0)

    module.VocabParallelEmbedding.embedding_func = embed


def leave_workers_ungrouped(module: Any) -> None:
    """Build the newer networks of data-parallel workers, who form no groups.

    They make groups for each way to divide a model. Where batches alone are divided, MindFormers has said before that
    there is one device (trainer/base_trainer.py), and for several the groups do not add up.
    """
    module.initialize_model_parallel = lambda **_degrees: None


_NEWER: Final = "mindformers.parallel_core.training_graph"
PATCHES: Final[Patches] = {
    "mindspore.nn.wrap.loss_scale": check_overflow_with_is_finite,
    "mindspore.communication.comm_func": barrier_by_all_reduce,
    "mindformers.models.llama.llama_transformer": add_attention_mask_as_penalty,
    f"{_NEWER}.transformer.flash_attention": attend_without_flash_attention,
    f"{_NEWER}.transformer.attention": share_keys_and_values,
    f"{_NEWER}.transformer.mlp": split_by_slices,
    f"{_NEWER}.transformer.norm": norm_in_steps,
    f"{_NEWER}.tensor_parallel.layers": embed_by_gather,
    f"{_NEWER}.base_models.gpt.gpt_model": leave_workers_ungrouped,
    f"{_NEWER}.base_models.common.embeddings.rotary_pos_embedding": multiply_by_broadcasting,
}
