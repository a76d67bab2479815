"""Bytes that a device needs, item by item, for the stage of the pipeline that needs most.

With h the hidden size, i that of the feed-forward, q and k those of all queries and all keys, a the heads, v the
vocabulary, s the tokens of a micro-batch on a context rank, t, c, d, p the degrees of tensor, context, data and
pipeline parallelism, t' = t with sequence parallelism and 1 without it, w and e the bytes of a parameter and of a
number in computing:

    weights       w / shards a parameter; a parameter of a layer is on 1/t of the devices of a stage, the embedding's on
                  1/(t c) (of Qwen3 1/t), that of the projection to logits on 1/t, as far as these divide the vocabulary
    copies        what is multiplied by: e a parameter of layers that are not computed again, or of all where the
                  optimizer's shards are gathered (w instead of e, for layers that are, without a pipeline)
    gradients     w a parameter, shared out as the optimizer says; without a pipeline only from the backward pass on,
                  with those of the group of layers that is reduced at once
    optimizer     Adam's two moments in float32: 8 / shards a parameter. The weights themselves are the masters
                  (with low-rank adapters, of these alone; each device has the base's weights unshared, as MindSpore's
                  step_parallel.cc leaves what is not trained)
    activations   for each layer, and each micro-batch in flight (p - stage at most: one forward, one backward):
                  e s (2 h/t' + 2 h + 2 q/t + 2 k/t + 4 i/t) + 64 s a/t, or e s h/t' if it is computed again; for a norm
                  on query and key e s (q + k)/t more; where residuals are in float32, 4 for e before h/t'; with
                  fine_grain_interleave e s q/t more, as attention gives its output whole and the rest of a layer takes
                  it in parts (llama_interleave.py)
    temporary     the largest of: 14 s v/t for the loss (log-softmax, one-hot labels, gradient in float32, gradient in
                  e = 2), the backward pass of a layer, the optimizer's step
    mask          as a matrix, the square of the sequence length a sequence, and four times that a micro-batch where
                  the data brings it
    communication 2 x 200 MiB a communicator, beside MindSpore's pool
    reserved      3 GiB of a device that no process gets

Sources: Korthikanti et al. 2022, "Reducing Activation Recomputation in Large Transformer Models", for what is kept and
for the pipeline, with what MindFormers 1.8 keeps instead of a GPT: models/llama/llama_transformer.py, llama_layer.py
(SwiGLU in four tensors, the inputs of projections gathered over the tensor-parallel group), core/loss/loss.py
(the logits), modules/layers.py (weights cast for each product). Rajbhandari et al. 2020, "ZeRO", for the shares of the
optimizer, with MindSpore's step_parallel_utils.cc (gathered after the cast with a pipeline, before it without), its
wrapper.py (gradients that a pipeline adds up are whole unless told otherwise) and core/optim/adamw.py (two moments in
float32). CANN's reference of HCCL_BUFFSIZE. MindSpore's log ("Device MOC memory size: 62432M" of 65536) for what no
process gets. tests/unit/runtime/training/memory/test_published.py says what it is worth.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final, Literal

from distill_runtime.training.memory.plan import GIB, MemoryPlan
from distill_runtime.training.memory.recompute import StageLayers

_MOMENTS_BYTES: Final = 8
_STEP_TENSORS: Final = 4
"""Of the size of a parameter, in float32, that AdamW computes with: the parameter, its update and both moments."""
_LOSS_BYTES: Final = 14
_FLOAT32_BYTES: Final = 4
_STATISTICS_BYTES: Final = 64
"""Flash attention keeps maximum and sum of each row, eight times each, in float32 (aclnnFlashAttentionScore)."""
_SCORES_BYTES: Final = 6
"""Without it: softmax in float32, and again in the precision of computing."""
_COMMUNICATOR_BYTES: Final = 2 * 200 * 2**20
RESERVED_BYTES: Final = 3 * GIB
_COMPRESSED_MASK_BYTES: Final = 2048 * 2048

Moment = Literal[
    "the arrival of the data",
    "the backward pass of its first layer",
    "the loss over the vocabulary",
    "the end of the backward pass",
    "the optimizer's step",
]


@dataclass(frozen=True)
class Estimate:
    """Bytes of a device, at the moment when it needs most.

    Attributes:
        stage: of the pipeline, from 0, that needs most.
        moment: of a step, when it does.
        temporary: what exists only at that moment.
    """

    stage: int
    moment: Moment
    weights: int
    copies: int
    gradients: int
    optimizer: int
    activations: int
    temporary: int
    mask: int
    communication: int

    @property
    def pool(self) -> int:
        """Bytes of MindSpore's own pool, which max_device_memory limits."""
        kept = self.weights + self.copies + self.gradients + self.optimizer
        return kept + self.activations + self.temporary + self.mask

    @property
    def total(self) -> int:
        """Bytes of the device, with what is beside the pool."""
        return self.pool + self.communication + RESERVED_BYTES


@dataclass(frozen=True)
class _Parameters:
    """Parameters of a device for one stage, before they are shared out by the optimizer."""

    layers: int
    embedding: int
    projection: int

    @property
    def all(self) -> int:
        return self.layers + self.embedding + self.projection

    def shared_out(self, shards: int, embedding_shards: int) -> int:
        return (self.layers + self.projection) // shards + self.embedding // embedding_shards


def estimate_memory(plan: MemoryPlan) -> Estimate:
    """Estimate the memory of a device of the stage that needs most, when it does."""
    moments = [estimate for stage in range(plan.pipeline) for estimate in _moments(plan, stage)]
    return max(moments, key=lambda estimate: estimate.pool)


def _moments(plan: MemoryPlan, stage: int) -> Iterator[Estimate]:
    """Give what a stage needs at the moments of a step that can be the worst."""
    parameters = _parameters(plan, stage)
    trained = _trained(plan, stage, parameters)
    frozen = parameters.all if trained is not parameters else 0
    optimizer = plan.optimizer
    share = trained.shared_out(optimizer.shards, optimizer.embedding_shards)
    accumulated = _accumulated(plan, trained, share)
    backward = _layer_backward(plan, plan.stages[stage]) * plan.interleaved
    begin = Estimate(
        stage=stage,
        moment="the backward pass of its first layer",
        weights=(frozen + share) * plan.parameter_bytes,
        copies=_copies(plan, stage, parameters),
        gradients=accumulated,
        optimizer=share * _MOMENTS_BYTES,
        activations=_activations(plan, stage),
        temporary=backward,
        mask=_mask(plan),
        communication=_communicators(plan) * _COMMUNICATOR_BYTES,
    )
    yield begin
    if stage == plan.pipeline - 1:
        yield replace(begin, moment="the loss over the vocabulary", temporary=_loss(plan) * plan.interleaved)
    reduced = accumulated or share * plan.parameter_bytes
    if plan.pipeline == 1:
        group = _reduced_at_once(plan)
        yield replace(
            begin, moment="the end of the backward pass", gradients=reduced, activations=0, temporary=backward + group
        )
    yield replace(begin, moment="the arrival of the data", copies=0, activations=0, temporary=_arriving_mask(plan))
    step = share * plan.parameter_bytes + _STEP_TENSORS * _FLOAT32_BYTES * _largest(plan, trained)
    yield replace(begin, moment="the optimizer's step", copies=0, gradients=reduced, activations=0, temporary=step)


def _parameters(plan: MemoryPlan, stage: int) -> _Parameters:
    network, last = plan.network, plan.pipeline - 1
    embedding_degree = plan.tensor if network.tied or network.qwen3 else plan.tensor * plan.context
    embeds = stage == 0 or (network.tied and stage == last)
    projects = stage == last and not network.tied
    return _Parameters(
        layers=plan.stages[stage].layers * network.layer_parameters // plan.tensor,
        embedding=network.vocabulary_parameters // _vocabulary_degree(plan, embedding_degree) if embeds else 0,
        projection=network.vocabulary_parameters // _vocabulary_degree(plan, plan.tensor) if projects else 0,
    )


def _trained(plan: MemoryPlan, stage: int, parameters: _Parameters) -> _Parameters:
    """Give the parameters that are trained: all, or those of adapters, of which each device has the whole at most."""
    if not plan.adapter_parameters:
        return parameters
    return _Parameters(layers=plan.stages[stage].layers * plan.adapter_parameters, embedding=0, projection=0)


def _vocabulary_degree(plan: MemoryPlan, degree: int) -> int:
    """Give by how many the vocabulary is divided: not at all where that is no whole number."""
    return 1 if plan.replicated_vocabulary or plan.network.vocabulary % degree else degree


def _copies(plan: MemoryPlan, stage: int, parameters: _Parameters) -> int:
    layers, optimizer = plan.stages[stage], plan.optimizer
    width, layer = plan.compute_bytes, plan.network.layer_parameters // plan.tensor
    kept = layers.layers - layers.recomputed
    sharded = optimizer.shards > 1 and not plan.adapter_parameters  # only what is trained is
    if sharded and not optimizer.gathers_again:
        recomputed = width if plan.pipeline > 1 else plan.parameter_bytes
        return layers.recomputed * layer * recomputed + (kept * layer + parameters.projection) * width
    if not sharded and plan.parameter_bytes == width:
        return 0
    if sharded:
        kept = 0
    return (max(kept, 1) * layer + parameters.projection) * width


def _accumulated(plan: MemoryPlan, parameters: _Parameters, share: int) -> int:
    """Give the gradients that are there from one step to the next: those that a pipeline adds up."""
    if plan.pipeline == 1:
        return 0
    whole = plan.optimizer.shards == 1 or not plan.optimizer.shards_accumulation
    return (parameters.all if whole else share) * plan.parameter_bytes


def _reduced_at_once(plan: MemoryPlan) -> int:
    """Give the gradients of the group of layers that replicas of the model add up together."""
    if plan.data * plan.context == 1:
        return 0
    layer = plan.adapter_parameters or plan.network.layer_parameters // plan.tensor
    return plan.aggregated_layers * layer * plan.parameter_bytes


def _largest(plan: MemoryPlan, parameters: _Parameters) -> int:
    """Give the share of a device in its largest parameter."""
    optimizer = plan.optimizer
    return max(
        parameters.embedding // optimizer.embedding_shards,
        parameters.projection // optimizer.shards,
        (plan.adapter_parameters or plan.network.hidden * plan.network.intermediate // plan.tensor) // optimizer.shards,
    )


def _activations(plan: MemoryPlan, stage: int) -> int:
    layers = plan.stages[stage]
    in_flight = min(plan.pipeline - stage, plan.micro_batches) if plan.pipeline > 1 else 1
    whole = _layer_activations(plan)
    tokens, width = _tokens(plan), plan.compute_bytes
    saved_by_activation = 2 * width * tokens * plan.network.intermediate // plan.tensor
    gathered = width * tokens * plan.network.hidden
    saved_by_communication = 2 * (gathered - gathered // _sequence_degree(plan))
    of_layers = (
        layers.recomputed * _recomputed_layer(plan)
        + (layers.layers - layers.recomputed) * whole
        - layers.activation_recomputed * saved_by_activation
        - layers.communication_recomputed * saved_by_communication
    )
    output = gathered if stage == plan.pipeline - 1 else 0
    return (of_layers * in_flight + output) * plan.interleaved


def _layer_activations(plan: MemoryPlan) -> int:
    """Give the bytes that a layer keeps of a micro-batch for its backward pass."""
    network, tokens, tensor = plan.network, _tokens(plan), plan.tensor
    # Packed, each context rank of an older network attends over the whole sequence; otherwise over its queries, with
    # all keys and values.
    queries = tokens * plan.context if plan.packed_attention else tokens
    keys = tokens * plan.context
    residual = 2 * network.hidden * tokens // _sequence_degree(plan) * plan.residual_bytes
    projected = 2 * network.hidden * tokens
    attention = (2 * queries * network.query_size + 2 * keys * network.key_value_size) // tensor
    if network.qwen3:
        attention += tokens * (network.query_size + network.key_value_size) // tensor
    if plan.fine_grained:
        attention += queries * network.query_size // tensor  # whole for flash attention, in parts for the projection
    feed_forward = 4 * tokens * network.intermediate // tensor
    statistics = queries * network.heads // tensor * _STATISTICS_BYTES
    if not plan.flash_attention:
        statistics = queries * plan.sequence_length * network.heads // tensor * _SCORES_BYTES
    return residual + plan.compute_bytes * (projected + attention + feed_forward) + statistics


def _recomputed_layer(plan: MemoryPlan) -> int:
    degree = plan.tensor if plan.slices_recomputed else _sequence_degree(plan)
    return plan.residual_bytes * _tokens(plan) * plan.network.hidden // degree


def _layer_backward(plan: MemoryPlan, layers: StageLayers) -> int:
    """Give what exists only while a layer's gradients are computed: those of its widest tensors and, if it is computed
    again, what it would have kept."""
    tokens, network = _tokens(plan), plan.network
    gradients = plan.compute_bytes * tokens * (3 * network.intermediate // plan.tensor + network.hidden)
    again = _layer_activations(plan) - _recomputed_layer(plan) if layers.recomputed else 0
    return gradients + again


def _loss(plan: MemoryPlan) -> int:
    degree = _vocabulary_degree(plan, plan.tensor)
    return _LOSS_BYTES * _tokens(plan) * plan.network.vocabulary // degree


def _mask(plan: MemoryPlan) -> int:
    if plan.compressed_mask:
        return _COMPRESSED_MASK_BYTES
    micro_batches = plan.micro_batches if plan.pipeline > 1 else 1
    from_data = _FLOAT32_BYTES * micro_batches if plan.mask_from_data else 0
    return _matrix(plan) * (1 + from_data)


def _arriving_mask(plan: MemoryPlan) -> int:
    """Give the mask of the whole batch, which every device is given (full_batch) before it takes its own part."""
    return _mask(plan) * plan.data if plan.mask_from_data and not plan.compressed_mask else 0


def _matrix(plan: MemoryPlan) -> int:
    return plan.sequences * plan.sequence_length**2


def _communicators(plan: MemoryPlan) -> int:
    """Count the groups that a device is in: all devices, and one for each way in which it shares something."""
    degrees = (plan.tensor, plan.pipeline, plan.data, plan.context)
    shared = sum(degree > 1 for degree in degrees) + (plan.data > 1 < plan.context)
    return 1 + shared if shared else 0


def _tokens(plan: MemoryPlan) -> int:
    return plan.sequences * plan.sequence_length // plan.context


def _sequence_degree(plan: MemoryPlan) -> int:
    return plan.tensor if plan.sequence_parallel else 1
