"""The protocol fingerprint of an evaluation: what another score has to share to be compared."""

import json
from collections.abc import Iterable, Mapping

from distill_runtime.contract import EvalContract, InputFingerprint
from distill_runtime.contract.stages import EndpointTarget
from distill_runtime.evaluation.summary import ProtocolFingerprint

_VERIFIER_PACKAGES = ("math-verify",)


def fingerprint_of(
    contract: EvalContract, fingerprints: Iterable[InputFingerprint], versions: Mapping[str, str]
) -> ProtocolFingerprint:
    """Give the fingerprint of what was asked, how, of what and by what it was judged.

    Args:
        fingerprints: of the stage's inputs.
        versions: of the packages that have a bearing on the score, by name.
    """
    benchmark, protocol, target = contract.benchmark, contract.protocol, contract.target
    inputs = {each.name: each.value for each in fingerprints}
    serving = {name: version for name, version in versions.items() if name not in _VERIFIER_PACKAGES}
    verifying = {name: version for name, version in versions.items() if name in _VERIFIER_PACKAGES}
    return ProtocolFingerprint(
        benchmark=inputs.get("benchmark"),
        problems=_text(
            {
                "subset": benchmark.subset,
                "split": benchmark.split,
                "promptColumn": benchmark.prompt_column,
                "answerColumn": benchmark.answer_column,
                "limit": benchmark.limit,
            }
        ),
        system_prompt=protocol.system_prompt,
        template=protocol.prompt_template,
        sampling=_text(
            {
                "temperature": protocol.temperature,
                "topP": protocol.top_p,
                "samplesPerProblem": protocol.samples_per_problem,
                "seed": protocol.seed,
            }
        ),
        max_tokens=str(protocol.max_tokens),
        verifier=_text({"name": protocol.verifier, **verifying}),
        server=target.url if isinstance(target, EndpointTarget) else _text(serving),
        weights=inputs.get("endpoint" if isinstance(target, EndpointTarget) else "model"),
    )


def _text(values: Mapping[str, object]) -> str:
    return json.dumps({name: value for name, value in values.items() if value is not None}, sort_keys=True)
