"""kopf's connection to the API server: kopf's own credentials, and a session that is quick to read listings.

kopf begins each watch with a listing of its own, which by default is packed by the API server, unpacked, and parsed by
the standard library: two thirds of what a start of the operator computes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import aiohttp
import kopf
import orjson


@dataclass(frozen=True, kw_only=True)
class _Connection(kopf.AiohttpSession):
    """Equal to another with the same credentials, by which kopf knows those that were refused."""

    aiohttp_session: aiohttp.ClientSession = field(compare=False)
    credentials: Mapping[str, Any]


def connect_kopf(**login: Any) -> kopf.AiohttpSession | None:
    """Log kopf in, with what it hands to a login handler; again whenever the API server refuses the credentials."""
    info = kopf.login_with_service_account(**login) or kopf.login_with_kubeconfig(**login)
    if info is None:
        return None
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, ssl=info.as_ssl_context()),
        headers={"Accept-Encoding": "identity", **info.as_http_headers()},
        proxy=info.proxy_url,
        trust_env=info.trust_env,
        response_class=_Response,
    )
    return _Connection(
        server=info.server,
        priority=info.priority,
        default_namespace=info.default_namespace,
        expiration=info.expiration,
        aiohttp_session=session,
        credentials={each.name: getattr(info, each.name) for each in fields(info)},
    )


class _Response(aiohttp.ClientResponse):
    async def json(self, **_: Any) -> Any:  # kopf hands it none of the arguments
        return orjson.loads(await self.read())
