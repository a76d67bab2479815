"""What MindSpore and MindFormers need to run on a CPU (see `patching`).

Both are written for Ascend; on a CPU two places fail, and one is wrong without a word. Each patch below says what
fails, why, and what it does instead. They are for processes whose device target is CPU.

Measured with MindSpore 2.7.2 and MindFormers 1.8.0. A patch for a later version goes here too.
"""

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


PATCHES: Final[Patches] = {
    "mindspore.nn.wrap.loss_scale": check_overflow_with_is_finite,
    "mindspore.communication.comm_func": barrier_by_all_reduce,
    "mindformers.models.llama.llama_transformer": add_attention_mask_as_penalty,
}
