"""Events are posted beside the work, in their order, and none keeps another from being posted."""

import asyncio
from datetime import datetime

import pytest
from unit.operator.builders import NOW, UID, key

from distill_operator import announce
from distill_operator.announce import Announcer
from distill_operator.errors import ClusterError
from distill_operator.observation import ResourceKey
from distill_operator.plan.events import Notice

KEY = key("DistillDataset")


class Posted:
    def __init__(self, refused: str = "") -> None:
        self.reasons: list[str] = []
        self._refused = refused

    async def emit(self, _: ResourceKey, uid: str, notice: Notice, at: datetime) -> None:
        assert (uid, at) == (UID, NOW)
        if notice.reason == self._refused:
            raise ClusterError("refused")
        self.reasons.append(notice.reason)


def announcer_with(posted: Posted, *reasons: str) -> Announcer:
    announcer = Announcer(posted.emit, clock=lambda: NOW)
    for reason in reasons:
        announcer.announce(KEY, UID, Notice("Normal", reason, "…"))
    return announcer


async def cancelled(announcer: Announcer) -> None:
    running = asyncio.create_task(announcer.run())
    await asyncio.sleep(0)
    await cancelled_now(running)


async def cancelled_now(running: asyncio.Task[None]) -> None:
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_what_is_waiting_at_the_end_is_posted_in_its_order() -> None:
    posted = Posted()
    await cancelled(announcer_with(posted, "Generating", "GenerateSucceeded", "Filtering"))
    assert posted.reasons == ["Generating", "GenerateSucceeded", "Filtering"]


async def test_one_that_is_refused_is_logged_and_keeps_no_other_from_being_posted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    posted = Posted(refused="GenerateSucceeded")
    await cancelled(announcer_with(posted, "Generating", "GenerateSucceeded", "Filtering"))
    assert posted.reasons == ["Generating", "Filtering"]
    assert "no Event for GenerateSucceeded: refused" in caplog.text


async def test_an_end_does_not_wait_for_an_api_server_that_does_not_answer(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(announce, "LAST_WORDS_SECONDS", 0.01)

    async def hang(*_: object) -> None:
        await asyncio.Event().wait()

    announcer = Announcer(hang, clock=lambda: NOW)
    for reason in ("One", "Two", "Three"):
        announcer.announce(KEY, UID, Notice("Normal", reason, "…"))
    running = asyncio.create_task(announcer.run())
    await asyncio.sleep(0)  # the first is being posted, and lost
    await cancelled_now(running)
    assert "2 Events are not posted" in caplog.text


async def test_those_that_wait_have_an_end(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(announce, "MOST_WAITING", 2)
    posted = Posted()
    await cancelled(announcer_with(posted, "One", "Two", "Three"))
    assert posted.reasons == ["One", "Two"]
    assert "no Event for Three: 2 are waiting" in caplog.text
