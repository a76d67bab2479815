"""What an object says of its Pods (`spec.podTemplate`): whether the chart allows it, and how it is merged.

In a Pod there is first what the operator needs, then what the chart configures for the stage or its accelerator
profile, then what the object adds. Amounts of memory and processors and environment variables take the place of the
chart's; all else is added beside it, and where the chart says something else, is refused rather than left out.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from distill_operator.allowed import PodTemplateAllowed, allows
from distill_operator.api import RunSpec
from distill_operator.api.pod_template import NodeAffinity, PodAffinity, PodTemplate, Toleration, is_reserved
from distill_operator.observation import CONTAINER, SERVER_CONTAINER
from distill_operator.plan.certificates import CA_VOLUME
from distill_operator.plan.stages import Invalid, Stage
from distill_operator.settings import PodSettings, Settings

Manifest = dict[str, Any]

NOT_ALLOWED = "PodTemplateNotAllowed"
POD_VOLUMES = (
    *("contract", "volume", "tmp", "shared-memory", CA_VOLUME),
    *("server-tmp", "server-output", "server-shared-memory"),
)
"""Names of volumes that the operator itself adds."""


def pod_settings(stage: Stage, settings: Settings) -> PodSettings:
    """Give what was configured for the stage's Pods: by their profile if they hold devices, else by their command."""
    return stage.profile if stage.profile is not None else settings.stage(stage.command)


def refuse_pod_template(stage: Stage, settings: Settings) -> Invalid | None:
    """Refuse what whoever installed this operator has not allowed, and what the chart sets to something else."""
    problems = [*_not_allowed(stage.run, settings), *_set_by_the_chart(stage, settings)]
    if not problems:
        return None
    return Invalid(NOT_ALLOWED, f"{'; '.join(problems)}. Change it here, upon which it goes on, or the chart's values.")


def carried_labels(labels: Mapping[str, str], settings: Settings) -> dict[str, str]:
    """Give those of an object's labels that its Jobs and Pods get as well."""
    return {
        name: value for name, value in labels.items() if allows(settings.object_labels, name) and not is_reserved(name)
    }


def _not_allowed(run: RunSpec, settings: Settings) -> Iterator[str]:
    wanted = run.priority_class_name
    if wanted is not None and not allows(settings.priority_classes.allowed, wanted):
        yield _refusal("priorityClassName", wanted, "priorityClasses.allowed", settings.priority_classes.allowed)
    if run.pod_template is None:
        return
    bounds = settings.pod_template.allowed
    for field, name in _named(run.pod_template):
        patterns: tuple[str, ...] = getattr(bounds, field)
        if not allows(patterns, name):
            alias = PodTemplateAllowed.model_fields[field].alias
            yield _refusal(f"podTemplate.{alias}", name, f"podTemplate.allowed.{alias}", patterns)


def _refusal(field: str, name: str, value: str, patterns: tuple[str, ...]) -> str:
    return f"spec.{field} may not have {name!r}: {value} of the chart's values has {', '.join(patterns) or 'none'}"


def _named(template: PodTemplate) -> Iterator[tuple[str, str]]:
    """Give all that a template sets, by field and name, as the chart's values allow it."""
    affinity = template.affinity.to_json() if template.affinity is not None else {}
    service_account = template.service_account_name
    amounts = (amounts for each in template.resources for amounts in (each.requests, each.limits))
    names: dict[str, Iterator[str]] = {
        "labels": iter(template.labels),
        "annotations": iter(template.annotations),
        "resources": iter(dict.fromkeys(name for some in amounts for name in some.named())),
        "node_selector": iter(template.node_selector),
        "tolerations": (each.key for each in template.tolerations),
        "affinity": iter(affinity),
        "service_account_name": iter([service_account] if service_account is not None else []),
        "env": (each.name for each in template.env),
        "volumes": (type_ for each in template.volumes for type_ in each.to_json() if type_ != "name"),
        "image_pull_secrets": (each.name for each in template.image_pull_secrets),
    }
    return ((field, name) for field, found in names.items() for name in found)


def _set_by_the_chart(stage: Stage, settings: Settings) -> Iterator[str]:
    template = stage.run.pod_template
    if template is None:
        return
    configured = pod_settings(stage, settings)
    both: tuple[tuple[str, Mapping[str, str], Mapping[str, str]], ...] = (
        ("labels", template.labels, configured.pod_labels),
        ("annotations", template.annotations, configured.pod_annotations),
        ("nodeSelector", template.node_selector, configured.node_selector),
    )
    for field, asked, charts in both:
        for name, value in asked.items():
            if charts.get(name, value) != value:
                yield f"spec.podTemplate.{field}: {name} is {charts[name]!r} by the chart's values, not {value!r}"
    taken = {*POD_VOLUMES, *(str(volume.get("name")) for volume in configured.volumes)}
    taken |= {str(volume.get("name")) for volume in settings.stage(stage.command).volumes}
    for volume in template.volumes:
        if volume.name in taken:
            yield f"spec.podTemplate.volumes may have none named {volume.name!r}, which the Pod has already"


def add_pod_template(template: Manifest, stage: Stage) -> None:
    """Add to the Pod template of a Job that is being built what its object asks for."""
    asked = stage.run.pod_template
    if asked is None:
        return
    metadata, pod = template["metadata"], template["spec"]
    metadata["labels"] = {**asked.labels, **metadata["labels"]}
    metadata["annotations"] = {**asked.annotations, **metadata["annotations"]}
    optional = {
        "nodeSelector": {**asked.node_selector, **pod.get("nodeSelector", {})},
        "tolerations": [*pod.get("tolerations", []), *map(_toleration, asked.tolerations)],
        "affinity": _affinity(asked),
        "serviceAccountName": asked.service_account_name,
        "imagePullSecrets": [*pod.get("imagePullSecrets", []), *(each.to_json() for each in asked.image_pull_secrets)],
    }
    pod.update({field: value for field, value in optional.items() if value})
    pod["volumes"] += [each.to_json() for each in asked.volumes]
    containers = {each["name"]: each for each in (*pod["containers"], *pod.get("initContainers", []))}
    for container in containers.values():
        own = [each.to_json() for each in asked.env]
        replaced = {each.name for each in asked.env}
        container["env"] = [*(each for each in container["env"] if each["name"] not in replaced), *own]
        container["volumeMounts"] += [each.to_json() for each in asked.volume_mounts]
    names = {stage.outline.name: CONTAINER, "server": SERVER_CONTAINER}
    for each in asked.resources:
        container = containers.get(names.get(each.stage, ""))
        if container is not None:
            container["resources"] = _resources(container["resources"], each.to_json())


def _toleration(toleration: Toleration) -> Manifest:
    return {name: value for name, value in toleration.to_json().items() if value != ""}


def _resources(configured: Manifest, asked: Mapping[str, Any]) -> Manifest:
    merged = {name: {**configured.get(name, {}), **asked.get(name, {})} for name in ("requests", "limits")}
    return {name: amounts for name, amounts in merged.items() if amounts}


def _affinity(template: PodTemplate) -> Manifest:
    if template.affinity is None:
        return {}
    blocks: dict[str, NodeAffinity | PodAffinity | None] = {
        "nodeAffinity": template.affinity.node_affinity,
        "podAffinity": template.affinity.pod_affinity,
        "podAntiAffinity": template.affinity.pod_anti_affinity,
    }
    filled = {name: _without_empty(block.to_json()) for name, block in blocks.items() if block is not None}
    return _without_empty(filled)


def _without_empty(block: Mapping[str, Any]) -> Manifest:
    return {name: value for name, value in block.items() if value}
