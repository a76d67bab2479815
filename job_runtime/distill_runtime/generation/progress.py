"""What the generate stage says while it asks."""

import asyncio
from typing import TYPE_CHECKING

from distill_runtime.client.ask import Client
from distill_runtime.client.journal import Tally
from distill_runtime.contract import GenerateContract, Price
from distill_runtime.process.progress import Reporter

if TYPE_CHECKING:
    from distill_runtime.generation.forecast import Forecast

_REPORT_SECONDS = 1.0


def count_outcomes(tally: Tally) -> dict[str, int]:
    """Put together the counts of what was asked so far."""
    return {
        "generations": tally.outcomes,
        "answered": tally.finish_reasons.total(),
        "failed": tally.failures.total(),
        **{f"finish.{reason}": number for reason, number in sorted(tally.finish_reasons.items())},
        **{f"failed.{reason}": number for reason, number in sorted(tally.failures.items())},
        "promptTokens": tally.prompt_tokens,
        "completionTokens": tally.completion_tokens,
        **({"uncountedAnswers": tally.uncounted} if tally.uncounted else {}),
        **({"discardedTokens": tally.discarded_completion_tokens} if tally.discarded_completion_tokens else {}),
        "requests": tally.attempts,
    }


def price_of_all(contract: GenerateContract) -> Price | None:
    """Give the price of tokens to a shard that knows of all of them: only one alone can say what they cost.

    What several cost is said where their counts are added up.
    """
    return contract.teacher.price if contract.shards == 1 else None


def describe_cost(price: Price, tally: Tally) -> str:
    """Say what the answers have cost, such as `12.34 USD`; of answers without usage nobody knows."""
    if tally.uncounted:
        return f"an unknown amount, since {tally.uncounted} answers came without usage"
    return price.cost(tally.prompt_tokens, tally.completion_tokens)


class AskingProgress:
    """Says how far the asking is.

    Args:
        total: generations of the shard.
        price: of the teacher's tokens, if the cost is to be said.
        forecast: of the acceptance rate, if there is one.
    """

    def __init__(
        self, reporter: Reporter, tally: Tally, total: int, price: Price | None, forecast: "Forecast | None"
    ) -> None:
        self._reporter = reporter
        self._tally = tally
        self._total = total
        self._price = price
        self.forecast = forecast

    def begin(self) -> None:
        """Say what was there before."""
        self._reporter.update(done=self._tally.outcomes, total=self._total, counts=count_outcomes(self._tally))

    def end(self) -> None:
        """Say that nothing is asked any more."""
        self._reporter.update(done=self._tally.outcomes, counts=count_outcomes(self._tally), message="finishing")

    async def keep_reporting(self, client: Client) -> None:
        """Say every second how far it is and what is the matter, until cancelled."""
        loop = asyncio.get_running_loop()
        started, tokens_before = loop.time(), self._tally.completion_tokens
        while True:
            seconds = max(loop.time() - started, _REPORT_SECONDS)
            metrics = {
                "inFlight": float(client.in_flight),
                "tokensPerSecond": (self._tally.completion_tokens - tokens_before) / seconds,
            }
            if self.forecast is not None and (rate := self.forecast.window.rate) is not None:
                metrics["acceptanceRate"] = rate
            self._reporter.update(
                done=self._tally.outcomes,
                message=self._message(client),
                counts=count_outcomes(self._tally),
                metrics=metrics,
            )
            await asyncio.sleep(_REPORT_SECONDS)

    def _message(self, client: Client) -> str:
        if self.forecast is not None and self.forecast.hopeless:
            doing = f"stopping, because {self.forecast.hopeless}; finishing what is under way"
        elif trouble := client.describe_trouble():
            doing = f"{trouble}; {self._tally.outcomes} of {self._total} done; retrying"
        else:
            doing = "asking the teacher"
        if self._price is not None:
            doing += f"; so far this has cost {describe_cost(self._price, self._tally)}"
        return doing
