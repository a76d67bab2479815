"""The protocol fingerprint of an evaluation: what another score has to share to be compared."""

import json
from collections.abc import Iterable, Mapping

from distill_runtime.contract import EvalContract, InputFingerprint, Judge
from distill_runtime.contract.parameters import Verification
from distill_runtime.contract.stages import EndpointTarget, WeightsTarget
from distill_runtime.evaluation.summary import ProtocolFingerprint
from distill_runtime.packing.tokens import TOKENIZER_FILES
from distill_runtime.storage.fingerprints import fingerprint_files
from distill_runtime.storage.volume import Volume

_VERIFICATION = set(Verification.model_fields) - {"judge"}
_JUDGEMENT = {"prompt_template", "verdict_pattern", "accepted_verdict", "max_tokens", "temperature", "seed"}
"""What a judge's verdicts depend on, besides the model."""
_VERIFIER_PACKAGES = ("math-verify",)
_TOKENIZER_FILES = (*TOKENIZER_FILES, "tokenizer.model")
"""A served model's may be SentencePiece's, which data is not packed with."""
_NO_PART_OF_THE_PROBLEMS = {"name", "uri", "group_columns", "problem_template"}
"""Of a benchmark: what it is called, where it is, how the score is broken down; and the template, which is one."""


def fingerprint_of(
    contract: EvalContract,
    fingerprints: Iterable[InputFingerprint],
    versions: Mapping[str, str],
    tokenizer: str | None,
) -> ProtocolFingerprint:
    """Give the fingerprint of what was asked, how, of what and by what it was judged.

    Args:
        fingerprints: of the stage's inputs.
        versions: of the packages that have a bearing on the score, by name.
        tokenizer: as `fingerprint_tokenizer` gives it.
    """
    benchmark, protocol, target = contract.benchmark, contract.protocol, contract.target
    inputs = {each.name: each.value for each in fingerprints}
    serving = {name: version for name, version in versions.items() if name not in _VERIFIER_PACKAGES}
    verifying = {name: version for name, version in versions.items() if name in _VERIFIER_PACKAGES}
    return ProtocolFingerprint(
        benchmark=inputs.get("benchmark"),
        problems=_text(benchmark.model_dump(mode="json", by_alias=True, exclude=_NO_PART_OF_THE_PROBLEMS)),
        system_prompt=protocol.system_prompt,
        template=_text(
            {
                "problemTemplate": benchmark.problem_template,
                "promptTemplate": protocol.prompt_template,
                "fewShot": [[example.prompt, example.answer] for example in protocol.few_shot] or None,
            }
        ),
        sampling=_text(
            {
                "temperature": protocol.temperature,
                "topP": protocol.top_p,
                "samplesPerProblem": protocol.samples_per_problem,
                "seed": protocol.seed,
            }
        ),
        max_tokens=str(protocol.max_tokens),
        verifier=_text(
            {
                **protocol.model_dump(mode="json", by_alias=True, include=_VERIFICATION),
                **verifying,
                "judge": None if protocol.judge is None else {**_asked(protocol.judge), "served": inputs.get("judge")},
            }
        ),
        server=target.url if isinstance(target, EndpointTarget) else _server(target, inputs.get("server"), serving),
        weights=inputs.get("endpoint" if isinstance(target, EndpointTarget) else "model"),
        tokenizer=tokenizer,
    )


def _asked(judge: Judge) -> dict[str, object]:
    return {"model": judge.endpoint.model, **judge.model_dump(mode="json", by_alias=True, include=_JUDGEMENT)}


def fingerprint_tokenizer(target: WeightsTarget | EndpointTarget, volume: Volume) -> str | None:
    """Tell the tokenizer beside weights that are served here, chat template included; None if there is none.

    What an endpoint uses, nobody here knows, whoever's weights it serves.
    """
    if isinstance(target, EndpointTarget):
        return None
    uri = target.weights.uri if target.weights is not None else target.uri
    directory = volume.resolve(str(uri))
    files = {name: path for name in _TOKENIZER_FILES if (path := directory / name).is_file()}
    return fingerprint_files(files) if files else None


def _server(target: WeightsTarget, definition: str | None, versions: Mapping[str, str]) -> str:
    server = target.server
    return _text({"name": server.name, "args": list(server.args) or None, "definition": definition, **versions})


def _text(values: Mapping[str, object]) -> str:
    return json.dumps({name: value for name, value in values.items() if value is not None}, sort_keys=True)
