"""What the generate stage says while it asks."""

import asyncio
from typing import TYPE_CHECKING

from distill_runtime.client.journal import Tally
from distill_runtime.contract import GenerateContract, Price
from distill_runtime.generation.teachers import Teachers, count_by_teacher
from distill_runtime.process.progress import Reporter

if TYPE_CHECKING:
    from distill_runtime.generation.forecast import Forecast

_REPORT_SECONDS = 1.0


def count_outcomes(contract: GenerateContract, tally: Tally) -> dict[str, int]:
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
        **count_by_teacher(contract, tally),
    }


def describe_costs(contract: GenerateContract, tally: Tally) -> str:
    """Say what the answers have cost, such as `12.34 USD`, by teacher where there are several.

    Only a shard that is alone knows of all of them; what several cost is said where their counts are added up. Empty
    for these, and where there is no price.
    """
    if contract.shards > 1:
        return ""
    if not contract.teacher.additional_models:
        return _describe_cost(contract.teacher.price, tally) if contract.teacher.price else ""
    return ", ".join(
        f"{_describe_cost(each.price, tally.by_teacher.get(each.model, Tally()))} for {each.model}"
        for each in contract.teacher.models
        if each.price
    )


def _describe_cost(price: Price, tally: Tally) -> str:
    """Say what answers have cost; of those without usage nobody knows."""
    if tally.uncounted:
        return f"an unknown amount, since {tally.uncounted} answers came without usage"
    return price.cost(tally.prompt_tokens, tally.completion_tokens)


class AskingProgress:
    """Says how far the asking is.

    Args:
        total: generations of the shard.
        forecast: of the acceptance rate, if there is one.

    Attributes:
        server_ended: how the server beside the stage has ended since its last answer; empty if it has not.
    """

    def __init__(
        self, contract: GenerateContract, reporter: Reporter, tally: Tally, total: int, forecast: "Forecast | None"
    ) -> None:
        self._contract = contract
        self._reporter = reporter
        self._tally = tally
        self._total = total
        self.forecast = forecast
        self.server_ended = ""

    def begin(self) -> None:
        """Say what was there before."""
        self._reporter.update(
            done=self._tally.outcomes, total=self._total, counts=count_outcomes(self._contract, self._tally)
        )

    def end(self) -> None:
        """Say that nothing is asked any more."""
        self._reporter.update(
            done=self._tally.outcomes, counts=count_outcomes(self._contract, self._tally), message="finishing"
        )

    async def keep_reporting(self, teachers: Teachers) -> None:
        """Say every second how far it is and what is the matter, until cancelled."""
        loop = asyncio.get_running_loop()
        started, tokens_before = loop.time(), self._tally.completion_tokens
        while True:
            seconds = max(loop.time() - started, _REPORT_SECONDS)
            metrics = {
                "inFlight": float(teachers.in_flight),
                "tokensPerSecond": (self._tally.completion_tokens - tokens_before) / seconds,
            }
            if self.forecast is not None and (rate := self.forecast.window.rate) is not None:
                metrics["acceptanceRate"] = rate
            self._reporter.update(
                done=self._tally.outcomes,
                message=self._message(teachers),
                counts=count_outcomes(self._contract, self._tally),
                metrics=metrics,
            )
            await asyncio.sleep(_REPORT_SECONDS)

    def _message(self, teachers: Teachers) -> str:
        if self.forecast is not None and self.forecast.hopeless:
            doing = f"stopping, because {self.forecast.hopeless}; finishing what is under way"
        elif trouble := self.server_ended or teachers.describe_trouble():
            doing = f"{trouble}; {self._tally.outcomes} of {self._total} done; retrying"
        else:
            doing = "asking the teacher"
        if costs := describe_costs(self._contract, self._tally):
            doing += f"; so far this has cost {costs}"
        return doing
