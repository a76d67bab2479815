"""Asking endpoints something trivial: whether they answer at all.

So no request of a run has to find out, and be kept for as long as that takes.
"""

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

from distill_runtime.client.chat import ChatTransport
from distill_runtime.client.endpoint import Endpoint
from distill_runtime.client.endpoints import EndpointPool
from distill_runtime.client.trouble import Kind, Trouble
from distill_runtime.client.values import Reply, chat_body
from distill_runtime.foundation.errors import WrongInput

logger = logging.getLogger(__name__)

TRIVIAL_QUESTION = "What is 1 + 1?"
_CHECK_SECONDS = 30.0
_FIRST_SECONDS, _LONGEST_SECONDS = 30.0, 240.0
"""That an answer may take. It doubles with each that did not come: a server with a long queue is slow at first, and one
that has lost a question is asked again soon."""
_NAMES_TOLD = 20


class Prober:
    """Asks the endpoints of a pool.

    Args:
        model: name that is sent.
    """

    def __init__(self, transport: ChatTransport, pool: EndpointPool, model: str) -> None:
        self._transport = transport
        self._pool = pool
        self._model = model

    async def check(self, endpoint: Endpoint) -> None:
        """Make sure that an endpoint, if it answers within half a minute, accepts the key and serves the model.

        Raises:
            WrongInput: as `misconfigured`.
        """
        try:
            async with asyncio.timeout(_CHECK_SECONDS):
                models = await self._transport.models(endpoint.url)
                if not isinstance(models, Trouble) and self._model in models:
                    return
                # The list may be wrong: gateways leave out aliases, and not every server has it. An answer counts.
                result = await self._ask(endpoint, _CHECK_SECONDS)
        except TimeoutError:
            logger.warning("%s does not answer within %.0f s", endpoint.url, _CHECK_SECONDS)
            return
        if isinstance(result, Trouble):
            if result.kind is Kind.MISCONFIGURED:
                raise await self.misconfigured(endpoint, result)
            logger.warning("%s %s", endpoint.url, result.what)

    async def look_after(self, endpoint: Endpoint) -> None:
        """Ask an endpoint whenever it is in question, until it answers, until cancelled.

        Raises:
            WrongInput: as `misconfigured`, of one that has never answered anything.
        """
        seconds = _FIRST_SECONDS
        while True:
            await endpoint.in_question.wait()
            await asyncio.sleep(endpoint.rest_seconds)
            answered_before = endpoint.answered
            result = await self._ask(endpoint, seconds)
            if isinstance(result, Reply) or result.kind is Kind.REFUSED:
                self._pool.vouch(endpoint)
                seconds = _FIRST_SECONDS
            elif result.kind is Kind.MISCONFIGURED and not endpoint.answered:
                raise await self.misconfigured(endpoint, result)
            elif endpoint.answered == answered_before:
                self._pool.doubt(endpoint, result)
                if result.kind is Kind.TIMEOUT:
                    seconds = min(2 * seconds, _LONGEST_SECONDS)

    async def misconfigured(self, endpoint: Endpoint, trouble: Trouble) -> WrongInput:
        """Say what is wrong with an endpoint at which every request would fare the same.

        Returns:
            EndpointMisconfigured; or ModelNotServed, with the names of the models that are.
        """
        models = await self._transport.models(endpoint.url)
        if isinstance(models, Trouble) or not models or self._model in models:
            return WrongInput(
                "EndpointMisconfigured",
                f"{endpoint.url} {trouble.what}; correct the endpoint, the model's name or the API key",
            )
        more = ", …" if len(models) > _NAMES_TOLD else ""
        return WrongInput(
            "ModelNotServed",
            f"{endpoint.url} does not serve {self._model!r}; it serves {', '.join(list(models)[:_NAMES_TOLD])}{more}",
        )

    async def _ask(self, endpoint: Endpoint, seconds: float) -> Reply | Trouble:
        body = chat_body(
            self._model,
            system_prompt="",
            user_prompt=TRIVIAL_QUESTION,
            max_tokens=1,
            temperature=0.0,
            top_p=1.0,
            seed=None,
        )
        try:
            async with asyncio.timeout(seconds):
                return await self._transport.complete(endpoint.url, body)
        except TimeoutError:
            return Trouble(Kind.TIMEOUT, f"does not answer a trivial question within {seconds:.0f} s")


def trivial_instead(body: Mapping[str, Any]) -> dict[str, Any]:
    """Give a request with the same parameters and system message, and a question that every model can be asked."""
    system = [message for message in body["messages"] if message["role"] == "system"]
    return {**body, "messages": [*system, {"role": "user", "content": TRIVIAL_QUESTION}]}
