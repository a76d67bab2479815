"""What an object may say of its Pods, in the words of a PodSpec.

It is a part of one only. What is not here cannot be asked for: another image or command, a host path, the host's
network, privileges, a service account's token, a device. What is here says how Pods run, never what comes out, so it
may change; the chart bounds it further (`podTemplate.allowed`).
"""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, JsonValue

from distill_operator.api.quantities import Amount
from distill_operator.api.rules import Rule, exactly_one_of, with_rules
from distill_runtime.contract import Model
from distill_runtime.contract.stages import INDEX_VARIABLE

DnsName = Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")]
Key = Annotated[str, Field(min_length=1, max_length=253)]
LabelValue = Annotated[str, Field(max_length=63, pattern=r"^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$")]

MOUNTS = "/mnt/"
"""Below it an object's own volumes are mounted: nothing that a program finds its code or its data in."""
OWN_VARIABLES = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", INDEX_VARIABLE, "HOME")
OWN_VARIABLE_PREFIX = "DISTILL_"
"""What the operator itself tells a container: an API key, a Pod's node."""
OWN_LABELS = ("app.kubernetes.io/name", "app.kubernetes.io/managed-by", "job-name", "controller-uid")
OWN_PREFIXES = ("npu-distill.io/", "batch.kubernetes.io/")
QUEUE_PREFIXES = ("kueue.x-k8s.io/", "scheduling.k8s.io/", "scheduling.volcano.sh/", "volcano.sh/")
CONFINEMENT_PREFIXES = (
    "container.apparmor.security.beta.kubernetes.io/",
    "container.seccomp.security.alpha.kubernetes.io/",
    "seccomp.security.alpha.kubernetes.io/",
    "sidecar.istio.io/userVolume",  # and userVolumeMount: volumes of any type, host paths among them
    "inject.istio.io/",
)
"""Annotations that take a container's confinement away, or have somebody else add to the Pod what this does not."""


def is_reserved(label: str) -> bool:
    """Tell whether a label is one by which the operator, Kubernetes or a queue finds something."""
    return label in OWN_LABELS or label.startswith((*OWN_PREFIXES, *QUEUE_PREFIXES))


def _free_of(field: str, names: tuple[str, ...], prefixes: tuple[str, ...], why: str) -> Rule:
    """Rule by which no key of the map `field` is one of `names`, or begins with one of `prefixes`."""
    taken = [*(f"name == '{name}'" for name in names), *(f"name.startsWith('{prefix}')" for prefix in prefixes)]
    return Rule(
        f"!has(self.{field}) || !self.{field}.exists(name, {' || '.join(taken)})",
        f"podTemplate.{field}: leave out what {why}: {', '.join([*names, *(f'{prefix}*' for prefix in prefixes)])}",
        field=field,
    )


class Amounts(Model):
    """Amounts of what every node has."""

    cpu: Amount | None = Field(default=None, description="Processors, such as 500m or 4.")
    memory: Amount | None = Field(default=None, description="Bytes, such as 8Gi.")
    ephemeral_storage: Amount | None = Field(
        default=None, alias="ephemeral-storage", description="Bytes on the node's disk."
    )

    def named(self) -> dict[str, str]:
        """Give those that are set, by the name that Kubernetes has for them."""
        return self.model_dump(by_alias=True, exclude_none=True)


class StageResources(Model):
    """Requests and limits of a stage's container, besides devices."""

    stage: str = Field(
        min_length=1,
        max_length=32,
        description="Stage, as status.stages has it; or server, for the server beside a stage.",
    )
    requests: Amounts = Field(default=Amounts(), description="What is set aside on the node.")
    limits: Amounts = Field(default=Amounts(), description="What it may not exceed.")


def resources_of(*stages: str) -> Rule:
    """Rule by which the spec of a kind speaks of no stage that the kind does not have."""
    return Rule(
        f"!has(self.podTemplate) || self.podTemplate.resources.all(each, each.stage in {list(stages)})",
        f"podTemplate.resources: stage is one of {', '.join(stages)}",
        field="podTemplate",
    )


class Toleration(Model):
    """A taint that is tolerated."""

    key: str = Field(default="", max_length=317, description="The taint's key; empty, with Exists, for any.")
    operator: Literal["Exists", "Equal"] = Field(default="Equal", description="How its value is looked at.")
    value: LabelValue = Field(default="", description="Its value, with Equal.")
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = Field(
        default=None, description="Its effect. Default: any."
    )
    toleration_seconds: int | None = Field(
        default=None, ge=0, description="How long a taint NoExecute is tolerated. Default: for ever."
    )


class NodeAffinity(Model):
    """On which nodes, as in a PodSpec."""

    required_during_scheduling_ignored_during_execution: dict[str, JsonValue] = Field(
        default_factory=dict, description="What a node must have: nodeSelectorTerms."
    )
    preferred_during_scheduling_ignored_during_execution: tuple[dict[str, JsonValue], ...] = Field(
        default=(), max_length=16, description="What it should rather have: weight and preference."
    )


class PodAffinity(Model):
    """Beside which Pods, or away from which, as in a PodSpec."""

    required_during_scheduling_ignored_during_execution: tuple[dict[str, JsonValue], ...] = Field(
        default=(), max_length=16, description="What must be so: labelSelector and topologyKey."
    )
    preferred_during_scheduling_ignored_during_execution: tuple[dict[str, JsonValue], ...] = Field(
        default=(), max_length=16, description="What should rather be so: weight and podAffinityTerm."
    )


class Affinity(Model):
    """Where Pods are placed, as in a PodSpec."""

    node_affinity: NodeAffinity | None = Field(default=None, description="On which nodes.")
    pod_affinity: PodAffinity | None = Field(default=None, description="Beside which Pods.")
    pod_anti_affinity: PodAffinity | None = Field(default=None, description="Away from which Pods.")


class KeyReference(Model):
    """A key of a ConfigMap or Secret of the same namespace."""

    name: DnsName = Field(description="Its name.")
    key: Key = Field(description="Key in its data.")


class FieldReference(Model):
    """A field of the Pod."""

    field_path: str = Field(min_length=1, max_length=512, description="Such as status.podIP.")


class VariableSource(Model):
    """Where a variable's value comes from."""

    model_config = ConfigDict(
        json_schema_extra=with_rules(exactly_one_of("valueFrom", "secretKeyRef", "configMapKeyRef", "fieldRef"))
    )

    secret_key_ref: KeyReference | None = Field(
        default=None, description="A Secret's key; the Secret needs the label npu-distill.io/allow."
    )
    config_map_key_ref: KeyReference | None = Field(default=None, description="A ConfigMap's key.")
    field_ref: FieldReference | None = Field(default=None, description="A field of the Pod.")


class Variable(Model):
    """An environment variable."""

    model_config = ConfigDict(
        json_schema_extra=with_rules(
            Rule(
                f"!(self.name in {list(OWN_VARIABLES)}) && !self.name.startsWith('{OWN_VARIABLE_PREFIX}')",
                f"podTemplate.env: the operator sets {', '.join(OWN_VARIABLES)} and {OWN_VARIABLE_PREFIX}* itself: "
                "leave them out",
                field="name",
            ),
            Rule("has(self.value) != has(self.valueFrom)", "podTemplate.env: set either value or valueFrom"),
        )
    )

    name: str = Field(min_length=1, max_length=128, pattern="^[A-Za-z_][A-Za-z0-9_]*$", description="Its name.")
    value: Annotated[str, Field(max_length=8192)] | None = Field(default=None, description="Its value.")
    value_from: VariableSource | None = Field(default=None, description="Where its value comes from instead.")


class ConfigMapVolume(Model):
    """The keys of a ConfigMap as files."""

    name: DnsName = Field(description="Name of the ConfigMap.")


class SecretVolume(Model):
    """The keys of a Secret as files."""

    secret_name: DnsName = Field(description="Name of the Secret, which needs the label npu-distill.io/allow.")


class EmptyDirVolume(Model):
    """An empty directory that ends with the Pod."""

    size_limit: Amount | None = Field(default=None, description="How large it may become.")


class ClaimVolume(Model):
    """A PersistentVolumeClaim of the same namespace."""

    claim_name: DnsName = Field(description="Its name.")
    read_only: bool = Field(default=False, description="Whether it is mounted for reading only.")


class PodVolume(Model):
    """A volume of one of four types; none that reaches the node or another namespace."""

    model_config = ConfigDict(
        json_schema_extra=with_rules(
            exactly_one_of("podTemplate.volumes", "configMap", "secret", "emptyDir", "persistentVolumeClaim")
        )
    )

    name: str = Field(max_length=63, pattern="^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", description="Its name in volumeMounts.")
    config_map: ConfigMapVolume | None = Field(default=None, description="The keys of a ConfigMap.")
    secret: SecretVolume | None = Field(default=None, description="The keys of a Secret.")
    empty_dir: EmptyDirVolume | None = Field(default=None, description="An empty directory.")
    persistent_volume_claim: ClaimVolume | None = Field(default=None, description="Another claim.")


class PodVolumeMount(Model):
    """Where a volume is seen."""

    name: str = Field(min_length=1, max_length=63, description="Name of one of volumes.")
    mount_path: str = Field(
        max_length=512,
        pattern=rf"^{MOUNTS}[A-Za-z0-9_-][A-Za-z0-9_.-]*(/[A-Za-z0-9_-][A-Za-z0-9_.-]*)*$",
        description="Directory below /mnt: a program's own files, the claim and the contract are elsewhere.",
    )
    read_only: bool = Field(default=False, description="Whether it is seen for reading only.")


class ImagePullSecret(Model):
    """A Secret with the credentials of a registry."""

    name: DnsName = Field(description="Its name.")


def _list_by(key: str) -> dict[str, JsonValue]:
    return {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [key]}


_SET_ELSEWHERE = "the operator, Kubernetes or a queue sets"


class PodTemplate(Model):
    """Additions to the Pods of all stages, over what the chart and the accelerator profile give them."""

    model_config = ConfigDict(
        json_schema_extra=with_rules(
            _free_of("labels", OWN_LABELS, (*OWN_PREFIXES, *QUEUE_PREFIXES), _SET_ELSEWHERE),
            _free_of(
                "annotations",
                (),
                (*OWN_PREFIXES, *QUEUE_PREFIXES, *CONFINEMENT_PREFIXES),
                f"{_SET_ELSEWHERE}, or is not safe",
            ),
            Rule(
                "!has(self.volumeMounts) || self.volumeMounts.all(mount,"
                " has(self.volumes) && self.volumes.exists(volume, volume.name == mount.name))",
                "podTemplate.volumeMounts: each names one of podTemplate.volumes",
                field="volumeMounts",
            ),
        )
    )

    labels: dict[str, LabelValue] = Field(default_factory=dict, max_length=32, description="Of the Pods.")
    annotations: dict[str, Annotated[str, Field(max_length=4096)]] = Field(
        default_factory=dict, max_length=32, description="Of the Pods."
    )
    resources: tuple[StageResources, ...] = Field(
        default=(),
        max_length=12,
        json_schema_extra=_list_by("stage"),
        description="Requests and limits by stage, each amount instead of the chart's or the profile's.",
    )
    node_selector: dict[str, LabelValue] = Field(
        default_factory=dict, max_length=32, description="Labels that a node must have, besides the chart's."
    )
    tolerations: tuple[Toleration, ...] = Field(
        default=(), max_length=16, description="Taints that are tolerated, besides the chart's."
    )
    affinity: Affinity | None = Field(default=None, description="Where Pods are placed.")
    service_account_name: DnsName | None = Field(
        default=None, description="ServiceAccount of the Pods, none of whose tokens they get. Default: default."
    )
    env: tuple[Variable, ...] = Field(
        default=(),
        max_length=64,
        json_schema_extra=_list_by("name"),
        description="Environment variables of all containers, instead of the chart's of the same name.",
    )
    volumes: tuple[PodVolume, ...] = Field(
        default=(), max_length=16, json_schema_extra=_list_by("name"), description="Volumes besides the claim."
    )
    volume_mounts: tuple[PodVolumeMount, ...] = Field(
        default=(),
        max_length=16,
        json_schema_extra=_list_by("mountPath"),
        description="Where all containers see these volumes.",
    )
    image_pull_secrets: tuple[ImagePullSecret, ...] = Field(
        default=(),
        max_length=8,
        json_schema_extra=_list_by("name"),
        description="Secrets for registries, besides the chart's; each needs the label npu-distill.io/allow.",
    )
