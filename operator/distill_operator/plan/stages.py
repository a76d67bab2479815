"""What a stage is: a value that says everything about the Job that will run it."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeVar

from distill_operator.api import Accelerator, AnyResource, ObjectReference, RunSpec
from distill_operator.observation import ResourceKey
from distill_operator.settings import Profile, Server, Settings
from distill_runtime.contract import ArtifactReference, Contract, Owner, StageName, identity
from distill_runtime.contract.stages import StageContract

HASH_CHARACTERS = 12
UNPLACED = "unplaced"
"""Output of a contract whose directory is not known yet: it follows from the rest of the contract, see `placed`."""

AnyContract = TypeVar("AnyContract", bound=StageContract)


class Teamwork(StrEnum):
    """How the Pods of a stage share its work."""

    SHARDS = "shards"
    """Each Pod has a share and knows of no other; their counts add up."""
    TOGETHER = "together"
    """The Pods do one thing, on a node each, and must find each other; the Pod with index 0 speaks for all."""


@dataclass(frozen=True)
class SecretVariable:
    """An environment variable that comes from a Secret."""

    name: str
    secret: str
    key: str


@dataclass(frozen=True)
class Sidecar:
    """A server that runs beside a stage, with its whole command."""

    server: Server
    command: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Outline:
    """What a stage is by its object alone, whatever this operator is configured with: enough to follow its Jobs.

    `backoff_limit` is how often each of its Pods may fail within an attempt and be replaced, `max_attempts` how many
    attempts in a row may fail without getting further. `saved_every` is after how many units what is done is safe.
    `fenced` is whether an attempt shuts those before it out of what it reads and writes: then it need not wait for a
    Pod of them that cannot be ended.
    """

    name: str
    reason: str
    pods: int = 1
    teamwork: Teamwork = Teamwork.SHARDS
    backoff_limit: int = 6
    max_attempts: int = 1
    saved_every: int = 1
    fenced: bool = False


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One step of a pipeline, run as one Indexed Job an attempt.

    `run` is what every kind says of its Jobs. `input` is another object's artifact that it reads. `credentials` is the
    Secret with the variables that reading sources takes. With a `sidecar` it is that which has the devices, and
    what else the profile says of a container. `labels` are those of its object that its Jobs and Pods get as well.
    """

    outline: Outline
    run: RunSpec
    command: StageName
    contract: Contract
    profile: Profile | None = None
    input: ArtifactReference | None = None
    devices: int = 0
    check_only: bool = False
    secrets: tuple[SecretVariable, ...] = ()
    credentials: str | None = None
    sidecar: Sidecar | None = None
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Waiting:
    """The next stage cannot be started yet."""

    reason: str
    message: str


@dataclass(frozen=True)
class Invalid:
    """The next stage can never be planned: the spec does not fit this cluster's configuration."""

    reason: str
    message: str


@dataclass(frozen=True)
class Blocked:
    """A stage of which no Job can be started; one that has been is followed to its end all the same."""

    outline: Outline
    by: Waiting | Invalid


def job_name(owner: str, stage: str, attempt: int) -> str:
    """Give the name of a Job and its companions: the same owner, stage and attempt are the same object.

    Owners of different kinds may have one name, so no two kinds have a stage in common, and no stage's name ends in
    that of another.
    """
    return f"{owner}-{stage}-a{attempt}"


def key_of(resource: AnyResource) -> ResourceKey:
    """Give the key of a parsed resource."""
    return ResourceKey(type(resource).__name__, resource.metadata.namespace, resource.metadata.name)


def credentials_of(resource: AnyResource) -> str | None:
    """Give the name of the Secret with the credentials of an object's sources, if it has one."""
    reference: ObjectReference | None = resource.spec.credentials_secret_ref
    return reference.name if reference is not None else None


def owner_of(resource: AnyResource) -> Owner:
    """Give the contract's word on whom a stage runs for."""
    key = key_of(resource)
    return Owner(kind=key.kind, namespace=key.namespace, name=key.name)


def find_profile(settings: Settings, accelerator: Accelerator) -> Profile | Invalid:
    """Give the accelerator's profile, or say why the configuration has none that fits."""
    name = accelerator.profile
    profile = settings.profiles.get(name)
    if profile is None:
        known = ", ".join(sorted(settings.profiles))
        return Invalid(
            "UnknownProfile",
            f"accelerator.profile {name!r} is not configured; this operator has {known}. "
            "Create the object again with one of these, or add the profile to the chart's values.",
        )
    if profile.devices_per_node is not None and accelerator.devices_per_node > profile.devices_per_node:
        return Invalid(
            "TooManyDevices",
            f"accelerator.devicesPerNode is {accelerator.devices_per_node}, but a node of profile {name!r} has "
            f"{profile.devices_per_node}: ask for fewer, or spread the run over more nodes.",
        )
    if profile.allowed_devices and accelerator.devices_per_node not in profile.allowed_devices:
        allowed = ", ".join(map(str, sorted(profile.allowed_devices)))
        return Invalid(
            "DevicesNotAllowed",
            f"accelerator.devicesPerNode is {accelerator.devices_per_node}, but of a node of profile {name!r} a Pod "
            f"may have only {allowed} devices. Create the object again with one of these numbers, or change "
            "allowedDevices in the chart's values.",
        )
    return profile


def placed(contract: AnyContract, resource: AnyResource, stage: str) -> AnyContract:
    """Give the contract with the directory of its artifact, relative to the volume.

    The same inputs give the same directory, so that an object that is deleted and created again picks up what it had;
    other inputs give another, so that nothing is mixed.
    """
    canonical = json.dumps(identity(contract), sort_keys=True, separators=(",", ":"))
    digest = hashlib.sha256(canonical.encode()).hexdigest()[:HASH_CHARACTERS]
    run: RunSpec = resource.spec
    metadata = resource.metadata
    output = f"{run.storage.path}/{metadata.namespace}/{metadata.name}/{stage}-{digest}"
    return contract.model_copy(update={"output": output})
