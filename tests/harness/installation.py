"""A cluster with npu-distill installed: the local one, or with CLUSTER=current the kubeconfig's own."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.cluster.images import Recipe, build_images, shipped_tag
from tests.cluster.lifecycle import alone, load, up
from tests.cluster.settings import read_settings
from tests.harness.kubectl import Kubectl

REPOSITORY = Path(__file__).resolve().parents[2]
CHART = REPOSITORY / "helm/npu-distill"
RELEASE = NAMESPACE = "npu-distill"

Say = Callable[[str], None]


@dataclass(frozen=True)
class Cluster:
    """A cluster that is up: how to reach it, and the chart's values that name the images in it."""

    kubectl: Kubectl
    values: Mapping[str, Any]


@dataclass(frozen=True)
class Installation:
    """Where npu-distill runs, and how to reach it."""

    kubectl: Kubectl
    release: str = RELEASE
    namespace: str = NAMESPACE


def open_cluster(recipes: Sequence[Recipe], say: Say) -> Cluster:
    """Have a cluster up, the local one with images of this tree in it.

    Raises:
        ClusterError: this machine cannot run the local cluster; the message says what is missing.
    """
    if is_current():
        say("using the kubeconfig's current context; its nodes must be able to pull the images")
        return Cluster(connect(), values={})
    settings = read_settings()
    up(settings, say)
    with alone(settings):
        wanted = shipped_tag()
        load(settings, build_images(settings, recipes, say), say)
    return Cluster(connect(), values={"image": {"tag": wanted}, "runtimeImage": {"tag": wanted}})


def connect() -> Kubectl:
    """Give the kubectl of the cluster that is meant, up or not."""
    if is_current():
        return Kubectl()
    settings = read_settings()
    path = f"{settings.programs}{os.pathsep}{os.environ['PATH']}"
    return Kubectl({"KUBECONFIG": str(settings.kubeconfig), "PATH": path})


def is_current() -> bool:
    """Tell whether the cluster that is meant is the kubeconfig's own, not the local one."""
    return os.environ.get("CLUSTER", "local") == "current"


def install(cluster: Cluster, values: Mapping[str, Any], say: Say) -> Installation:
    """Install or upgrade the chart, CRDs first, and wait until the operator is up.

    `values` go over the chart's own; those of the file that VALUES names, if it names one, over both.
    """
    say(f"installing the chart into namespace {NAMESPACE}")
    own = os.environ.get("VALUES", "")
    kubectl = cluster.kubectl
    kubectl("apply", "--server-side", "--force-conflicts", "-f", REPOSITORY / "crds")
    kubectl.run(
        "helm",
        "upgrade",
        "--install",
        RELEASE,
        CHART,
        "--namespace",
        NAMESPACE,
        "--create-namespace",
        "--skip-crds",
        "--wait",
        "--timeout",
        "3m",
        "--values",
        "-",
        *(["--values", own] if own else []),
        stdin=yaml.safe_dump({**cluster.values, **values}),
        timeout=240,
    )
    return Installation(kubectl)


def uninstall(installation: Installation) -> None:
    """Remove the release; CRDs and objects stay, as `helm uninstall` leaves them."""
    installation.kubectl.run("helm", "uninstall", installation.release, "-n", installation.namespace, timeout=120)
