"""What the chart allows to whoever creates an object: names and URLs, by pattern. In a pattern, `*` is any text."""

import re
from collections.abc import Iterable
from typing import Annotated, Final

from pydantic import AfterValidator, Field

from distill_runtime.contract import Model

ANY: Final = ("*",)
_AUTHORITY: Final = r"(?P<host>\[[0-9A-Fa-f:.*]+\]|[A-Za-z0-9.*_-]+)(:(?P<port>[0-9]+|\*))?"
_URL: Final = re.compile(rf"(?P<scheme>[a-z][a-z0-9*]*)://{_AUTHORITY}(?P<path>(/[A-Za-z0-9._~%+=,*-]*)*)")
"""As plain as any endpoint is: what two parsers might read differently, such as a user before the host or a backslash,
is no URL here."""
_CLIMBING: Final = re.compile(r"(^|/)(\.|%2[eE]){1,2}(/|$)")


def _is_url(pattern: str) -> str:
    if pattern != "*" and not _URL.fullmatch(pattern):
        raise ValueError(f"{pattern!r} is no pattern of URLs, such as http://*.teachers.svc/*")
    return pattern


Names = tuple[Annotated[str, Field(max_length=253)], ...]
Urls = tuple[Annotated[str, Field(max_length=2048), AfterValidator(_is_url)], ...]


class PodTemplateAllowed(Model):
    """What `spec.podTemplate` may set: patterns of the names in each field, none unless given."""

    labels: Names = Field(default=(), description="Keys of labels.")
    annotations: Names = Field(default=(), description="Keys of annotations.")
    resources: Names = Field(default=(), description="cpu, memory, ephemeral-storage.")
    node_selector: Names = Field(default=(), description="Keys of node labels.")
    tolerations: Names = Field(default=(), description="Keys of taints; that of all taints is empty.")
    affinity: Names = Field(default=(), description="nodeAffinity, podAffinity, podAntiAffinity.")
    service_account_name: Names = Field(default=(), description="Names of ServiceAccounts.")
    env: Names = Field(default=(), description="Names of environment variables.")
    volumes: Names = Field(default=(), description="configMap, secret, emptyDir, persistentVolumeClaim.")
    image_pull_secrets: Names = Field(default=(), description="Names of Secrets.")


class PodTemplateBounds(Model):
    """How far objects may say how their Pods run."""

    allowed: PodTemplateAllowed = PodTemplateAllowed()


class PriorityClasses(Model):
    """Which PriorityClasses `spec.priorityClassName` may name."""

    allowed: Names = ANY


class Endpoints(Model):
    """Which servers stages may be told to ask: a teacher's key goes there, and what the prompts say."""

    allowed: Urls = ANY


def allows(patterns: Iterable[str], name: str) -> bool:
    """Tell whether one of `patterns` fits the whole of `name`."""
    return any(_fits(pattern, name) for pattern in patterns)


def allows_url(patterns: Iterable[str], url: str) -> bool:
    """Tell whether one of `patterns` fits `url`, part by part, so that `*` in a host does not reach into the path.

    A pattern without a port fits any, and one without a path any path.
    """
    patterns = tuple(patterns)
    if "*" in patterns:
        return True
    asked = _URL.fullmatch(url)
    if asked is None or "*" in url or _CLIMBING.search(asked["path"]):
        return False
    return any(_fits_url(pattern, asked) for pattern in patterns)


def _fits_url(pattern: str, asked: re.Match[str]) -> bool:
    allowed = _URL.fullmatch(pattern)
    return (
        allowed is not None
        and _fits(allowed["scheme"], asked["scheme"])
        and _fits(allowed["host"].lower(), asked["host"].lower())
        and _fits(allowed["port"] or "*", asked["port"] or "")
        and _fits(allowed["path"] or "*", asked["path"] or "/")
    )


def _fits(pattern: str, text: str) -> bool:
    return re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), text, re.DOTALL) is not None
