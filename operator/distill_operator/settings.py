"""The operator's configuration: one YAML file, which the chart renders from its values."""

import re
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import AfterValidator, Field, ValidationError, field_validator

from distill_runtime.contract import Model
from distill_runtime.contract.parameters import EntryPoint
from distill_runtime.contract.stages import DeviceTarget

# As Kubernetes parses them (apimachinery's resource.Quantity), without a minus; the chart's schema has the same.
QUANTITY = re.compile(r"\+?([0-9]+(\.[0-9]*)?|\.[0-9]+)([KMGTPE]i|[numkMGTPE]|[eE][-+]?[0-9]+)?")


class SettingsError(Exception):
    """The configuration file cannot be used; the message says what to change in it."""


def _checked(quantity: str) -> str:
    if not QUANTITY.fullmatch(quantity):
        raise ValueError(f"{quantity!r} is no quantity of Kubernetes, such as 500m, 16 or 64Gi")
    return quantity


Quantity = Annotated[str, AfterValidator(_checked)]


class Images(Model):
    """Images of stage Pods."""

    runtime: str = Field(min_length=1, description="Runtime image for stages without devices.")
    pull_policy: str = Field(default="IfNotPresent", pattern="^(Always|IfNotPresent|Never)$")
    pull_secrets: tuple[str, ...] = ()


class Resources(Model):
    """A container's requests and limits."""

    requests: dict[str, Quantity] = Field(default_factory=dict)
    limits: dict[str, Quantity] = Field(default_factory=dict)

    @field_validator("requests", "limits", mode="before")
    @classmethod
    def _quantities_are_text(cls, value: object) -> object:
        """YAML reads `cpu: 2` as a number; a quantity is text."""
        return {name: str(quantity) for name, quantity in value.items()} if isinstance(value, dict) else value


class PodSettings(Model):
    """What the Pods of a stage or of an accelerator profile are given, and their Jobs."""

    image: str = Field(default="", description="Runtime image; empty for images.runtime.")
    resources: Resources = Resources()
    env: dict[str, str] = Field(default_factory=dict)
    node_selector: dict[str, str] = Field(default_factory=dict)
    tolerations: tuple[dict[str, Any], ...] = ()
    job_labels: dict[str, str] = Field(default_factory=dict)
    job_annotations: dict[str, str] = Field(default_factory=dict)
    pod_labels: dict[str, str] = Field(default_factory=dict)
    pod_annotations: dict[str, str] = Field(default_factory=dict)
    scheduler_name: str = ""
    runtime_class_name: str = ""
    shared_memory: str = Field(
        default="", description="Size of an in-memory /dev/shm; empty for the runtime's default."
    )
    volumes: tuple[dict[str, Any], ...] = ()
    volume_mounts: tuple[dict[str, Any], ...] = ()
    pod_security_context: dict[str, Any] = Field(
        default_factory=dict, description="Merged over that of all stage Pods, for drivers that need more."
    )
    container_security_context: dict[str, Any] = Field(
        default_factory=dict, description="Merged over the restricted default. In both, null removes a field."
    )

    @field_validator("shared_memory")
    @classmethod
    def _is_a_quantity_if_any(cls, value: str) -> str:
        return value and _checked(value)


class Profile(PodSettings):
    """An accelerator profile: how Pods ask for a kind of device. Adding a device is adding one of these."""

    device_target: DeviceTarget
    resource: str | None = Field(default=None, description="Extended resource of the device plugin; none on CPU.")
    devices_per_node: int | None = Field(default=None, ge=1, description="Devices that a node has at most.")
    termination_grace_period_seconds: int = Field(
        default=600,
        ge=1,
        description="How long a training Pod has to save a checkpoint when it is told to end; it ends once it has.",
    )


class Jobs(Model):
    """All Jobs of stages."""

    ttl_seconds_after_finished: int = Field(
        default=86_400,
        ge=600,
        description="When Kubernetes removes a Job that has ended, with its Pods and logs. At least the longest pause "
        "before an attempt, and long enough for the operator to be away meanwhile.",
    )


class Verifiers(Model):
    """What filtering may run."""

    python: tuple[EntryPoint, ...] = Field(
        default=(), description="Entry points that the verifier python may call: code, which users choose by name."
    )


class Settings(Model):
    """The whole configuration."""

    images: Images
    progress_interval_seconds: float = Field(default=15, ge=1, le=3600)
    watch_namespaces: tuple[str, ...] = Field(default=(), description="Empty for all namespaces.")
    stage_pod_security_context: dict[str, Any] = Field(description="Of all stage Pods, as in a PodSpec.")
    jobs: Jobs = Jobs()
    stages: dict[str, PodSettings] = Field(default_factory=dict)
    verifiers: Verifiers = Verifiers()
    profiles: dict[str, Profile] = Field(min_length=1)

    def stage(self, name: str) -> PodSettings:
        """Give the settings of stage `name`; a stage that is not mentioned has none."""
        return self.stages.get(name, PodSettings())


def load_settings(path: Path) -> Settings:
    """Read the configuration file.

    Raises:
        SettingsError: it is missing, not YAML, or a field is wrong.
    """
    try:
        return Settings.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise SettingsError(f"cannot read the configuration {path}: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise SettingsError(f"{path} is not YAML: {error}") from error
    except ValidationError as error:
        details = "; ".join(
            f"{'.'.join(map(str, problem['loc'])) or 'the file'}: {problem['msg']}" for problem in error.errors()
        )
        raise SettingsError(f"{path}: {details}") from error
