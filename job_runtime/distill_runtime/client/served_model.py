"""Which model an endpoint serves, as far as it tells.

Of what /v1/models says of a model, `root` counts: vLLM gives there what it has loaded. `created` does not, since it is
the time of the question (vLLM) or of the server's start (MindIE), nor do limits such as max_model_len. Servers that
give no root, as MindIE, tell models apart by their names only.
"""

import asyncio
from collections.abc import Mapping

from distill_runtime.client.ask import ClientSettings
from distill_runtime.client.chat import ChatTransport
from distill_runtime.client.endpoints import backoff
from distill_runtime.client.trouble import Kind, Trouble
from distill_runtime.contract import InputFingerprint
from distill_runtime.foundation.errors import Retryable
from distill_runtime.storage.fingerprints import shortened

_FIRST_BACKOFF_SECONDS = 1.0
_AWAY = frozenset({Kind.UNREACHABLE, Kind.DISCONNECTED, Kind.TIMEOUT})
_LATER = _AWAY | {Kind.SERVER_ERROR, Kind.THROTTLED}
"""With these it may be away too, or have no list: some gateways answer so where others say 404."""


async def fingerprint_endpoint(settings: ClientSettings) -> InputFingerprint:
    """Tell which model the only endpoint serves under the name that will be asked for, once it lists its models.

    Raises:
        Retryable: EndpointUnreachable.
    """
    (endpoint,) = settings.endpoints
    transport = _open_transport(settings)
    loop = asyncio.get_running_loop()
    gives_up_at = loop.time() + settings.unavailable_timeout_seconds
    failures = 0
    try:
        while isinstance(models := await transport.models(endpoint), Trouble) and models.kind in _LATER:
            failures += 1
            pause = models.retry_after or backoff(_FIRST_BACKOFF_SECONDS, failures)
            if loop.time() + pause > gives_up_at:
                if models.kind not in _AWAY:
                    break
                raise Retryable("EndpointUnreachable", f"{endpoint} {models.what}, so that its model is not known")
            await asyncio.sleep(pause)
    finally:
        await transport.close()
    return _fingerprint(endpoint, settings.model, models)


async def fingerprint_endpoints(settings: ClientSettings) -> list[InputFingerprint]:
    """Tell which model each endpoint serves that can be reached just now."""
    transport = _open_transport(settings)
    try:
        answers = await asyncio.gather(*(transport.models(endpoint) for endpoint in settings.endpoints))
    finally:
        await transport.close()
    return [
        _fingerprint(endpoint, settings.model, models)
        for endpoint, models in zip(settings.endpoints, answers, strict=True)
        if not isinstance(models, Trouble) or models.kind not in _AWAY
    ]


def _open_transport(settings: ClientSettings) -> ChatTransport:
    return ChatTransport(
        settings.endpoints, settings.api_key, settings.request_timeout_seconds, settings.stall_timeout_seconds
    )


def _fingerprint(endpoint: str, model: str, models: Mapping[str, str] | Trouble) -> InputFingerprint:
    root = "" if isinstance(models, Trouble) else models.get(model, "")
    told = f"{model}, loaded from {root}" if root else f"{model}, of which the endpoint tells no more"
    return InputFingerprint(name="endpoint", uri=endpoint, value=shortened(told))
