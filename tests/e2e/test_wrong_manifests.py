"""Wrong manifests: refused by the API server in words that name field and remedy, or Stalled within seconds."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.workspace import Manifest, Workspace
from tests.harness.kubectl import CommandError, condition, eventually

RECIPE = Path(__file__).parents[2] / "examples" / "openr1-qwen-7b"
DATASET, FINETUNE, EVALUATION = "dataset", "finetune", "evaluation"

ROWS = {"prompts": None, "rows": {"uri": "arithmetic/prompts.jsonl"}}
PACKED = {"prompts": None, "packed": {"uri": "packed"}}

REFUSED: list[tuple[str, str, dict[str, Any], str]] = [
    ("no source", DATASET, {"source": None}, 'missing required field "source"'),
    (
        "an empty source",
        DATASET,
        {"source": {"prompts": None}},
        "spec.source: set exactly one of prompts, rows, packed",
    ),
    (
        "two sources",
        DATASET,
        {"source": {"rows": {"uri": "arithmetic/prompts.jsonl"}}},
        "spec.source: set exactly one of prompts, rows, packed",
    ),
    (
        "a file of the container",
        DATASET,
        {"source": {"prompts": {"uri": "file:///etc/passwd"}}},
        "prompts.uri must be a path on the claim, or a URL that begins with one of hf, http",
    ),
    (
        "a host path",
        DATASET,
        {"podTemplate": {"volumes": [{"name": "node", "hostPath": {"path": "/"}}]}},
        'unknown field "hostPath"',
    ),
    (
        "the host's network",
        DATASET,
        {"podTemplate": {"hostNetwork": True}},
        'unknown field "hostNetwork"',
    ),
    (
        "a service account's token",
        DATASET,
        {"podTemplate": {"automountServiceAccountToken": True}},
        'unknown field "automountServiceAccountToken"',
    ),
    (
        "a volume over the claim",
        FINETUNE,
        {
            "podTemplate": {
                "volumes": [{"name": "a", "emptyDir": {}}],
                "volumeMounts": [{"name": "a", "mountPath": "/data"}],
            }
        },
        "spec.podTemplate.volumeMounts[0].mountPath in body should match",
    ),
    (
        "a label by which the operator finds its Pods",
        FINETUNE,
        {"podTemplate": {"labels": {"npu-distill.io/uid": "x"}}},
        "podTemplate.labels: leave out what the operator, Kubernetes or a queue sets",
    ),
    (
        "a container without AppArmor",
        EVALUATION,
        {"podTemplate": {"annotations": {"container.apparmor.security.beta.kubernetes.io/stage": "unconfined"}}},
        "podTemplate.annotations: leave out what the operator, Kubernetes or a queue sets, or is not safe",
    ),
    (
        "a variable of the operator",
        EVALUATION,
        {"podTemplate": {"env": [{"name": "DISTILL_API_KEY", "value": "x"}]}},
        "podTemplate.env: the operator sets",
    ),
    (
        "devices past the accelerator",
        FINETUNE,
        {"podTemplate": {"resources": [{"stage": "train", "limits": {"huawei.com/Ascend910": 8}}]}},
        'unknown field "huawei.com/Ascend910"',
    ),
    (
        "resources of a stage of another kind",
        DATASET,
        {"podTemplate": {"resources": [{"stage": "train", "limits": {"cpu": 1}}]}},
        "podTemplate.resources: stage is one of generate, filter, select, pack, server",
    ),
    (
        "a file of the container by a detour",
        EVALUATION,
        {"benchmark": {"uri": "simplecache::file:///etc/passwd"}},
        "benchmark.uri must be a path on the claim, or a URL that begins with one of hf, http",
    ),
    (
        "two queues",
        FINETUNE,
        {"queue": {"kueue": "team-a", "native": {}}},
        "spec.queue: set exactly one of kueue, volcano, native",
    ),
    (
        "a priority of Kueue for Volcano",
        EVALUATION,
        {"queue": {"volcano": {}, "workloadPriorityClass": "high"}},
        "workloadPriorityClass is Kueue's: set kueue, or use spec.priorityClassName",
    ),
    ("prompts without a teacher", DATASET, {"teacher": None}, "teacher answers source.prompts: set it with these"),
    ("a teacher for rows", DATASET, {"source": ROWS}, "leave it out with source.rows and source.packed"),
    ("prompts without pack", DATASET, {"pack": None}, "pack makes sequences of source.prompts and source.rows"),
    (
        "packed sequences to pack",
        DATASET,
        {"source": PACKED, "teacher": None, "filter": None},
        "leave it out with source.packed, whose sequences are made",
    ),
    (
        "packed sequences to filter",
        DATASET,
        {"source": PACKED, "teacher": None, "pack": None},
        "filter judges generations, and source.packed has none any more",
    ),
    (
        "recorded verdicts of prompts",
        DATASET,
        {"filter": {"verifier": "recorded"}},
        "choose another verifier for source.prompts and for messagesColumn",
    ),
    (
        "recorded verdicts of conversations",
        DATASET,
        {
            "source": {"prompts": None, "rows": {"uri": "rows", "messagesColumn": "messages"}},
            "teacher": None,
            "filter": {"verifier": "recorded"},
        },
        "choose another verifier for source.prompts and for messagesColumn",
    ),
    (
        "conversations with finish reasons",
        DATASET,
        {
            "source": {
                "prompts": None,
                "rows": {"uri": "rows", "messagesColumn": "messages", "finishReasonsColumn": "finish_reasons"},
            },
            "teacher": None,
        },
        "leave them out with messagesColumn",
    ),
    ("no endpoint", DATASET, {"teacher": {"endpoints": []}}, "spec.teacher.endpoints"),
    (
        "a teacher that is there and one that is served",
        DATASET,
        {"teacher": {"serve": {"server": "mindformers", "uri": "student", "accelerator": {"profile": "cpu"}}}},
        "set either teacher.endpoints, of servers that are there, or teacher.serve",
    ),
    (
        "a server for an endpoint",
        EVALUATION,
        {
            "target": {"finetuneRef": None, "endpoint": {"url": "http://rule-based-teacher/v1", "model": "m"}},
            "accelerator": None,
            "serve": {"server": "vllm-ascend"},
        },
        "leave it out for target.endpoint",
    ),
    ("an endpoint without a scheme", DATASET, {"teacher": {"endpoints": ["teacher:8000"]}}, "^https?://"),
    (
        "negative temperature",
        DATASET,
        {"teacher": {"sampling": {"temperature": -1}}},
        "spec.teacher.sampling.temperature",
    ),
    ("topP of zero", DATASET, {"teacher": {"sampling": {"topP": 0}}}, "spec.teacher.sampling.topP"),
    (
        "a currency that is no code",
        DATASET,
        {"teacher": {"price": {"promptTokensPerMillion": 1, "completionTokensPerMillion": 1, "currency": "$"}}},
        "spec.teacher.price.currency",
    ),
    (
        "several generations at temperature 0",
        DATASET,
        {"teacher": {"sampling": {"temperature": 0, "generationsPerPrompt": 4}}},
        "raise sampling.temperature or set sampling.generationsPerPrompt to 1",
    ),
    (
        "a retry that asks for no more",
        DATASET,
        {"teacher": {"sampling": {"maxTokens": 512, "retryTruncatedMaxTokens": 512}}},
        "sampling.retryTruncatedMaxTokens must be larger than sampling.maxTokens",
    ),
    (
        "more shards than requests",
        DATASET,
        {"teacher": {"shards": 8, "maxConcurrentRequests": 4}},
        "teacher.shards must not exceed teacher.maxConcurrentRequests",
    ),
    (
        "teachers of one name",
        DATASET,
        {"teacher": {"additionalModels": [{"model": "a", "endpoints": ["http://a"]}] * 2}},
        "additionalModels must have names of their own",
    ),
    (
        "a template without the prompt",
        DATASET,
        {"teacher": {"promptTemplate": "Solve it."}},
        "spec.teacher.promptTemplate",
    ),
    ("an unknown verifier", DATASET, {"filter": {"verifier": "guess"}}, 'Unsupported value: "guess"'),
    ("acceptance in percent", DATASET, {"filter": {"minAcceptanceRate": 30}}, "spec.filter.minAcceptanceRate"),
    (
        "a template of choices that are nowhere",
        DATASET,
        {"source": {"prompts": {"uri": "prompts.jsonl", "problemTemplate": "{problem} {choices}"}}},
        "set choiceColumns, which says what they are",
    ),
    (
        "no reference answers for a verifier that compares",
        DATASET,
        {"source": {"prompts": {"referenceAnswers": "none"}}},
        "filter.verifier must be majority or none",
    ),
    (
        "a majority of one",
        DATASET,
        {"filter": {"verifier": "majority"}, "teacher": {"sampling": {"generationsPerPrompt": 1}}},
        "set teacher.sampling.generationsPerPrompt to 2",
    ),
    ("a tolerance of letters", DATASET, {"filter": {"tolerance": {"absolute": 1}}}, "tolerance says how far"),
    (
        "a judge of everything",
        DATASET,
        {"filter": {"verifier": "none", "judge": {"endpoint": {"url": "http://judge/v1", "model": "judge"}}}},
        "the verifier none accepts everything",
    ),
    (
        "a judge that sees no answer",
        DATASET,
        {"filter": {"judge": {"endpoint": {"url": "http://judge/v1", "model": "judge"}, "promptTemplate": "Yes?"}}},
        "judge.promptTemplate must have {reference} and {answer} in it",
    ),
    (
        "a probe that nothing is chosen by",
        DATASET,
        {"select": {"probe": {"endpoint": {"url": "http://probe/v1", "model": "probe"}}}},
        "set one of them",
    ),
    (
        "a probe without reference answers",
        DATASET,
        {
            "filter": {"verifier": "none"},
            "select": {"maxPassRate": 0.9, "probe": {"endpoint": {"url": "http://probe/v1", "model": "probe"}}},
        },
        "the pass rate of select.probe is told by the reference answers",
    ),
    ("regex without a pattern", DATASET, {"filter": {"verifier": "regex"}}, "answerPattern says what the verifier"),
    (
        "a function that no verifier calls",
        DATASET,
        {"filter": {"entryPoint": "checks:right"}},
        "set it with that verifier, and only with it",
    ),
    (
        "a choice among a prompt's answers by filter and select",
        DATASET,
        {"filter": {"keep": "first"}, "select": {"maxPerPrompt": 2}},
        "set keep and maxPerPrompt there, and leave them out of filter",
    ),
    (
        "a selection without pass rates",
        DATASET,
        {"select": {"minPassRate": 0.9, "maxPassRate": 0.1}},
        "minPassRate must not exceed maxPassRate",
    ),
    (
        "a selection by tokens that nobody has counted",
        DATASET,
        {"source": ROWS, "teacher": None, "select": {"length": {"max": 1000}}},
        "give select.length the unit characters",
    ),
    (
        "a balance of sources that are not known",
        DATASET,
        {"select": {"balance": {"column": "source", "maxPerValue": 10}}},
        "name the column that says it in source.prompts.sourceColumn",
    ),
    (
        "samples longer than sequences",
        DATASET,
        {"pack": {"maxSampleTokens": 4096}},
        "maxSampleTokens must not exceed sequenceLength",
    ),
    ("a misspelt field", DATASET, {"teacher": {"modle": "r1"}}, 'unknown field "modle"'),
    ("storage outside the claim", DATASET, {"storage": {"path": "../other"}}, "path is relative to the claim"),
    (
        "devices that parallelism does not divide",
        FINETUNE,
        {"accelerator": {"devicesPerNode": 8}, "parallelism": {"tensor": 3}},
        "must be a multiple of parallelism.tensor x parallelism.pipeline x parallelism.context",
    ),
    (
        "too few micro-batches",
        FINETUNE,
        {"accelerator": {"devicesPerNode": 2}, "parallelism": {"pipeline": 2}},
        "parallelism.microBatches must be at least parallelism.pipeline",
    ),
    (
        "sequence parallelism alone",
        FINETUNE,
        {"parallelism": {"sequence": True}},
        "parallelism.sequence needs parallelism.tensor of at least 2",
    ),
    (
        "attention split among one device",
        FINETUNE,
        {"parallelism": {"contextAttention": "split"}},
        "parallelism.contextAttention split needs parallelism.context of at least 2",
    ),
    (
        "adapters of random weights",
        FINETUNE,
        {"training": {"lora": {}}, "model": {"initialization": "random"}},
        "training.lora adapts weights that somebody has trained",
    ),
    ("a projection that no layer has", FINETUNE, {"training": {"lora": {"targets": ["wq"]}}}, "Unsupported value"),
    ("a learning rate that rises", FINETUNE, {"training": {"finalLearningRate": 0.9}}, "must not exceed learningRate"),
    ("no accelerator", FINETUNE, {"accelerator": None}, 'missing required field "accelerator"'),
    (
        "two targets",
        EVALUATION,
        {"target": {"model": {"uri": "models/qwen"}}},
        "set exactly one of finetuneRef, model, endpoint",
    ),
    (
        "devices for an endpoint",
        EVALUATION,
        {"target": {"finetuneRef": None, "endpoint": {"url": "http://h/v1", "model": "m"}}},
        "leave it out for target.endpoint",
    ),
    (
        "several samples at temperature 0",
        EVALUATION,
        {"protocol": {"samplesPerProblem": 4}},
        "raise temperature or set samplesPerProblem to 1",
    ),
    (
        "a benchmark that nobody knows",
        EVALUATION,
        {"benchmark": {"uri": None}},
        "set uri, or as name one of those that are known: aime-2024",
    ),
    ("weights over two nodes", EVALUATION, {"accelerator": {"nodes": 2}}, "set accelerator.nodes to 1"),
]

IMPOSSIBLE_NAMES = {
    "a" * 37: "metadata.name must have at most 36 characters",
    "openr1-qwen2.5-7b": "write qwen2-5 instead of qwen2.5",
    "7b": "metadata.name must begin with a letter",
}

STALLED: list[tuple[str, str, dict[str, Any], str, str]] = [
    (
        "an unknown profile",
        FINETUNE,
        {"accelerator": {"profile": "tpu"}},
        "UnknownProfile",
        "accelerator.profile 'tpu' is not configured; this operator has",
    ),
    (
        "more devices than a node has",
        FINETUNE,
        {"accelerator": {"profile": "ascend-910b", "devicesPerNode": 16}},
        "TooManyDevices",
        "spread the run over more nodes",
    ),
    (
        "a function that the operator does not allow",
        DATASET,
        {"filter": {"verifier": "python", "entryPoint": "timeit:timeit"}},
        "VerifierNotAllowed",
        "filter.entryPoint 'timeit:timeit' may not be called",
    ),
    (
        "prompts that are not there",
        DATASET,
        {"source": {"prompts": {"uri": "arithmetic/promts.jsonl"}}},
        "SourceMissing",
        "arithmetic/promts.jsonl",
    ),
    (
        "a column that is not there",
        DATASET,
        {"source": {"prompts": {"answerColumn": "solution"}}},
        "ColumnMissing",
        "'solution'",
    ),
    (
        "rows without generations",
        DATASET,
        {"source": ROWS, "teacher": None},
        "ColumnMissing",
        "no column 'generations' (generationsColumn); it has problem, answer, uuid",
    ),
    (
        "packed sequences that are not there",
        DATASET,
        {"source": PACKED, "teacher": None, "filter": None, "pack": None},
        "SourceMissing",
        "there is no packed on the volume",
    ),
    (
        "a model that the teacher does not have",
        DATASET,
        {"teacher": {"model": "deepseek-r1"}},
        "ModelNotServed",
        "rule-based-arithmetic",
    ),
    (
        "a benchmark that is not there",
        EVALUATION,
        {
            "target": {"finetuneRef": None, "endpoint": {"url": "http://rule-based-teacher/v1", "model": "m"}},
            "accelerator": None,
            "benchmark": {"uri": "aime.jsonl"},
        },
        "SourceMissing",
        "aime.jsonl",
    ),
    (
        "a model that is not there",
        EVALUATION,
        {"target": {"finetuneRef": None, "model": {"uri": "models/none"}}},
        "ModelConfigMissing",
        "models/none",
    ),
]


def _manifest(workspace: Workspace, kind: str, changes: dict[str, Any], name: str = "sums") -> Manifest:
    build = {DATASET: workspace.dataset, FINETUNE: workspace.finetune, EVALUATION: workspace.evaluation}
    return build[kind](name, **changes)


def test_the_api_server_refuses_and_says_what_to_do(workspace: Workspace) -> None:
    said = {
        case: (words, workspace.refused(_manifest(workspace, kind, changes))) for case, kind, changes, words in REFUSED
    }
    assert {case: message for case, (words, message) in said.items() if words not in message} == {}


def test_the_recipe_is_taken(workspace: Workspace) -> None:
    taken = workspace.kubectl("apply", "--dry-run=server", "-n", workspace.namespace, "-f", str(RECIPE))
    assert taken.count("created (server dry run)") == 3


def test_a_name_that_children_could_not_have_is_refused(workspace: Workspace) -> None:
    said = {
        (kind, name): (words, workspace.refused(_manifest(workspace, kind, {}, name)))
        for kind in (DATASET, FINETUNE, EVALUATION)
        for name, words in IMPOSSIBLE_NAMES.items()
    }
    assert {case: message for case, (words, message) in said.items() if words not in message} == {}


def test_inputs_are_immutable_and_suspend_is_not(workspace: Workspace) -> None:
    workspace.apply(workspace.finetune(dataset="none", suspend=True))
    with pytest.raises(CommandError, match=r"spec\.training is immutable: create a new FinetuneRun"):
        workspace.apply(workspace.finetune(dataset="none", suspend=True, training={"epochs": 9}))
    with pytest.raises(CommandError, match=r"spec\.mindformers is immutable"):
        workspace.apply(workspace.finetune(dataset="none", suspend=True, mindformers={"use_legacy": False}))
    workspace.apply(workspace.finetune(dataset="none", suspend=False))


def test_what_only_the_cluster_can_know_is_stalled_with_its_reason(workspace: Workspace) -> None:
    workspace.teacher()
    kinds = {DATASET: "distilldataset", FINETUNE: "finetunerun", EVALUATION: "evalrun"}
    names = {case: f"wrong-{number}" for number, (case, *_) in enumerate(STALLED)}
    workspace.apply(*(_manifest(workspace, kind, changes, names[case]) for case, kind, changes, *_ in STALLED))
    surprises = []
    for case, kind, _, reason, words in STALLED:
        stalled = condition(workspace.wait_for(kinds[kind], names[case], "Stalled", seconds=90), "Stalled")
        if words not in stalled["message"] or stalled["reason"] != reason:
            surprises.append((case, stalled["reason"], stalled["message"]))
        verdict = workspace.kubectl.run("kstatus", stdin=json.dumps(workspace.get(kinds[kind], names[case])))
        assert verdict.startswith("Failed"), f"{case}: {verdict}"
    assert surprises == []


def test_a_missing_secret_is_named_and_the_stage_goes_on_when_it_is_there(workspace: Workspace) -> None:
    workspace.teacher()
    workspace.apply(workspace.dataset(credentialsSecretRef={"name": "hub"}))
    eventually(lambda: workspace.reason("distilldataset") == "CreateContainerConfigError", "the Secret is missed")
    message = condition(workspace.get("distilldataset"), "Ready")["message"]
    assert 'secret "hub" not found. Create it, and the Pod starts.' in message
    metadata = {"name": "hub", "namespace": workspace.namespace, "labels": {"npu-distill.io/allow": "true"}}
    workspace.apply({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {"HF_TOKEN": "hf_x"}})
    workspace.wait_for("distilldataset")
    (pod,) = workspace.pods("filter")
    assert pod["spec"]["containers"][0]["envFrom"] == [{"secretRef": {"name": "hub"}}]
    assert "hf_x" not in json.dumps([pod, workspace.get("distilldataset")])
