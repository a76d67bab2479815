"""The operator's configuration: one YAML file, which the chart renders from its values."""

import math
import re
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

import yaml
from pydantic import AfterValidator, Field, ValidationError, field_validator, model_validator

from distill_operator.allowed import Endpoints, Names, PodTemplateBounds, PriorityClasses
from distill_operator.api.quantities import QUANTITY, checked_quantity
from distill_runtime.contract import Model
from distill_runtime.contract.parameters import EntryPoint
from distill_runtime.contract.stages import DeviceTarget


class SettingsError(Exception):
    """The configuration file cannot be used; the message says what to change in it."""


def _checked_if_any(quantity: str) -> str:
    return quantity and checked_quantity(quantity)


Quantity = Annotated[str, AfterValidator(checked_quantity)]
QuantityIfAny = Annotated[str, AfterValidator(_checked_if_any)]
Source = Literal["fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef"]
"""Where a variable's value may come from (core/v1 EnvVarSource)."""

_BINARY: Final[dict[str, int]] = {
    suffix: 1024**power for power, suffix in enumerate(("Ki", "Mi", "Gi", "Ti", "Pi", "Ei"), start=1)
}
_DECIMAL: Final = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}


def whole(quantity: Quantity) -> int:
    """Give the value of a quantity, rounded up, as Kubernetes does (resource.Quantity's Value)."""
    match = QUANTITY.fullmatch(quantity)
    if match is None:
        raise ValueError(f"{quantity!r} is no quantity of Kubernetes")
    number, suffix = Decimal(match[1]), match[3] or ""
    if suffix in _BINARY:
        return math.ceil(number * _BINARY[suffix])
    exponent = _DECIMAL[suffix] if suffix in _DECIMAL else int(suffix[1:])
    return math.ceil(number.scaleb(exponent))


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


class VariableSource(Model):
    """Where an environment variable's value comes from, as in a PodSpec: a Pod's IP, one of its annotations."""

    value_from: dict[Source, dict[str, Any]] = Field(min_length=1, max_length=1)


class PodSettings(Model):
    """What the Pods of a stage or of an accelerator profile are given, and their Jobs."""

    image: str = Field(default="", description="Runtime image; empty for images.runtime.")
    resources: Resources = Resources()
    env: dict[str, str | VariableSource] = Field(default_factory=dict)
    node_selector: dict[str, str] = Field(default_factory=dict)
    tolerations: tuple[dict[str, Any], ...] = ()
    job_labels: dict[str, str] = Field(default_factory=dict)
    job_annotations: dict[str, str] = Field(default_factory=dict)
    pod_labels: dict[str, str] = Field(default_factory=dict)
    pod_annotations: dict[str, str] = Field(default_factory=dict)
    scheduler_name: str = ""
    runtime_class_name: str = ""
    host_network: bool = Field(default=False, description="Whether Pods use their node's network instead of their own.")
    shared_memory: QuantityIfAny = Field(
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


PLACEHOLDERS: Final = ("model", "name", "port", "devices", "deviceTarget", "maxLength", "maxConcurrentRequests")
"""What a server's command may leave open, as {model}: it is known only when something is to be served."""
_PLACEHOLDER: Final = re.compile(r"(?<!\$)\{([A-Za-z]\w*)\}")


class Server(Model):
    """A server of the OpenAI API that can run beside a stage and serve it a model. Adding one is adding data."""

    image: str = Field(default="", description="Its image; empty for that of the accelerator profile.")
    command: tuple[str, ...] = Field(
        min_length=1,
        description="Words of the command that starts it, listening on 127.0.0.1 and {port}; see PLACEHOLDERS.",
    )
    port: int = Field(default=8000, ge=1024, le=65535)
    health_path: str = Field(
        default="/health", pattern="^/", description="Path that answers 200 once requests are answered."
    )
    start_seconds: int = Field(
        default=1800, ge=1, le=86_400, description="How long it may take to load a model and answer."
    )
    env: dict[str, str | VariableSource] = Field(default_factory=dict, description="Added to the profile's.")
    resources: Resources | None = Field(
        default=None, description="Requests and limits besides the devices; absent for the profile's."
    )
    container_security_context: dict[str, Any] = Field(
        default_factory=dict, description="Merged over that of the profile; null removes a field."
    )

    @field_validator("command")
    @classmethod
    def _known_placeholders(cls, command: tuple[str, ...]) -> tuple[str, ...]:
        unknown = {name for word in command for name in _PLACEHOLDER.findall(word)} - set(PLACEHOLDERS)
        if unknown:
            raise ValueError(f"{{{min(unknown)}}} is no placeholder; there are {', '.join(PLACEHOLDERS)}")
        return command

    def command_line(self, values: dict[str, str]) -> tuple[str, ...]:
        """Give the command with `values`, by the names of all placeholders."""
        return tuple(_PLACEHOLDER.sub(lambda match: values[match[1]], word) for word in self.command)


class Profile(PodSettings):
    """An accelerator profile: how Pods ask for a kind of device. Adding a device is adding one of these."""

    device_target: DeviceTarget
    resource: str | None = Field(default=None, description="Extended resource of the device plugin; none on CPU.")
    devices_per_node: int | None = Field(default=None, ge=1, description="Devices that a node has at most.")
    allowed_devices: tuple[int, ...] = Field(
        default=(), description="How many devices of a node a Pod may have; empty for any number up to the node's."
    )
    device_memory: QuantityIfAny = Field(
        default="", description="Memory of one device, against which a run's estimate is held; empty for no check."
    )
    peak_teraflops: float | None = Field(
        default=None,
        gt=0,
        description="Dense bfloat16 operations a second of one device, in 10^12, of which a run's MFU is a share; none "
        "for no MFU.",
    )
    server: str = Field(
        default="mindformers", description="Server of what its devices are to serve, unless the object names another."
    )
    termination_grace_period_seconds: int = Field(
        default=600,
        ge=1,
        description="How long a training Pod has to save a checkpoint when it is told to end; it ends once it has.",
    )

    @model_validator(mode="after")
    def _a_node_has_as_many_as_are_allowed(self) -> Self:
        most = self.devices_per_node
        if self.allowed_devices and (min(self.allowed_devices) < 1 or (most and max(self.allowed_devices) > most)):
            raise ValueError(f"allowedDevices are numbers from 1 to devicesPerNode, {most}; not {self.allowed_devices}")
        return self


class Jobs(Model):
    """All Jobs of stages."""

    ttl_seconds_after_finished: int = Field(
        default=86_400,
        ge=600,
        description="When Kubernetes removes a Job that has ended, with its Pods and logs. At least the longest pause "
        "before an attempt, and long enough for the operator to be away meanwhile.",
    )


class CaBundle(Model):
    """Certificates of authorities that stage Pods believe, instead of those of their image."""

    config_map_name: str = Field(default="", description="ConfigMap of each namespace that has them; empty for none.")
    key: str = Field(default="ca.crt", min_length=1, description="Key in its data.")


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
    object_labels: Names = Field(
        default=(), description="Patterns of labels of an object that its Jobs and Pods get as well."
    )
    pod_template: PodTemplateBounds = PodTemplateBounds()
    priority_classes: PriorityClasses = PriorityClasses()
    endpoints: Endpoints = Endpoints()
    ca_bundle: CaBundle = CaBundle()
    servers: dict[str, Server] = Field(default_factory=dict)
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
