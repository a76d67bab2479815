"""Which of the configured namespaces the operator has its rights in.

A namespace that is deleted takes its Role with it. kopf ends the process for one listing that is forbidden, and begins
nothing before every first listing has answered: one namespace that is gone would be the end of the work in all.
"""

import asyncio
import logging
from collections.abc import Collection

from distill_operator.api import KINDS
from distill_operator.cluster import Cluster
from distill_operator.errors import ClusterError, NamespaceReturnedError

ASK_AGAIN_SECONDS = 180.0

_KIND = next(iter(KINDS))
"""The kind that is asked for: the operator has its rights in a namespace for all or for none."""

_log = logging.getLogger(__name__)


async def within_reach(cluster: Cluster, namespaces: Collection[str]) -> tuple[str, ...]:
    """Give those of `namespaces` that can be watched, and log the others. None is configured where all are watched.

    Raises:
        ClusterError: none of them can be.
    """
    reached = tuple([namespace for namespace in namespaces if await cluster.can_list(_KIND, namespace)])
    if namespaces and not reached:
        raise ClusterError(f"None of watchNamespaces can be watched ({', '.join(namespaces)}); {_REMEDY}")
    for namespace in sorted({*namespaces} - {*reached}):
        _log.error("namespace %s is left out, since it cannot be watched; %s", namespace, _REMEDY)
    return reached


_REMEDY = (
    "create it, and `helm upgrade` makes its Role, which its deletion removed; or take it out of the chart's "
    "watchNamespaces."
)


async def end_when_within_reach(cluster: Cluster, left_out: Collection[str]) -> None:
    """Ask again for the namespaces that were left out; do nothing for ever if there are none.

    Raises:
        NamespaceReturnedError: one of them can be watched now.
    """
    while True:
        await asyncio.sleep(ASK_AGAIN_SECONDS)
        for namespace in left_out:
            try:
                is_back = await cluster.can_list(_KIND, namespace)
            except ClusterError as error:
                _log.error("%s; next try in %g s", error, ASK_AGAIN_SECONDS)
                continue
            if is_back:
                raise NamespaceReturnedError(f"Namespace {namespace} can be watched now: beginning anew with it.")
