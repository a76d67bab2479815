"""The operator's process: how it ends when it cannot do its work, and when it is told to."""

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from unit.operator.api_server import ApiServer
from unit.operator.builders import SETTINGS

from distill_operator.settings import Settings

MAIN = "import sys; from distill_operator.__main__ import main; sys.exit(main())"


@asynccontextmanager
async def operator(
    server: ApiServer, directory: Path, monkeypatch: pytest.MonkeyPatch, settings: Settings = SETTINGS, before: str = ""
) -> AsyncIterator[asyncio.subprocess.Process]:
    """The operator in a process of its own, which runs the code `before` first."""
    server.write_kubeconfig(directory / "kubeconfig")
    monkeypatch.setenv("KUBECONFIG", str(directory / "kubeconfig"))
    (directory / "operator.yaml").write_text(json.dumps(settings.to_json()), encoding="utf-8")
    command = ("-c", f"{before}\n{MAIN}", "--config", str(directory / "operator.yaml"), "--port", "0")
    process = await asyncio.create_subprocess_exec(sys.executable, *command, stderr=asyncio.subprocess.PIPE)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_ends_with_one_line_where_the_kinds_are_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with ApiServer().serving() as server:
        server.kinds = {"Job", "Pod"}
        async with operator(server, tmp_path, monkeypatch) as process:
            _, said = await process.communicate()
    assert process.returncode == 1
    lines = said.decode().splitlines()
    assert len(lines) == 1
    assert "does not serve distilldatasets, finetuneruns, evalruns of npu-distill.io/v1alpha1" in lines[0]
    assert "kubectl apply --server-side -f crds/" in lines[0]


async def test_ends_when_a_namespace_that_was_left_out_returns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kubelet starts it again, and it watches that one too."""
    settings = SETTINGS.model_copy(update={"watch_namespaces": ("team-a", "team-b")})
    async with ApiServer().serving() as server:
        server.forbidden = {"team-b"}
        soon = "import distill_operator.reach as reach; reach.ASK_AGAIN_SECONDS = 0.1"
        async with operator(server, tmp_path, monkeypatch, settings, soon) as process:
            await watches(server, process)
            server.forbidden = set()
            _, said = await process.communicate()
    assert process.returncode == 1
    assert said.decode().splitlines()[-1] == "Namespace team-b can be watched now: beginning anew with it."


async def test_ends_at_once_when_it_is_told_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """kopf waits 5 s for tasks that it takes for its own and finds running; it says that there are none."""
    talkative = "import logging; logging.getLogger('kopf').setLevel(logging.DEBUG)"
    serving = ApiServer().serving()
    async with serving as server, operator(server, tmp_path, monkeypatch, before=talkative) as process:
        await watches(server, process)
        process.send_signal(signal.SIGTERM)
        _, said = await process.communicate()
    assert process.returncode == 0
    assert b"Hung tasks stopping is skipped: no tasks given." in said


FAILING_WATCHES = """
import asyncio
import kopf._core.reactor.orchestration as orchestration

async def fail(**_):
    await asyncio.sleep(0.2)
    raise RuntimeError("forbidden for a minute")

orchestration.orchestrator = fail
"""
WATCHES_THAT_DO_NOT_END = """
import kopf._cogs.aiokits.aiotasks as aiotasks
from distill_operator import handlers

handlers.STOP_SECONDS = 1

async def stop(*_, **__):
    await asyncio.Event().wait()

aiotasks.stop = stop
"""


@pytest.mark.parametrize("before", [FAILING_WATCHES, FAILING_WATCHES + WATCHES_THAT_DO_NOT_END], ids=["end", "stay"])
async def test_ends_when_a_watch_has_failed_for_good_whether_kopf_does_or_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: str
) -> None:
    """It would be healthy, and deaf."""
    async with ApiServer().serving() as server, operator(server, tmp_path, monkeypatch, before=before) as process:
        _, said = await asyncio.wait_for(process.communicate(), 120)
    assert process.returncode == 1
    assert b"forbidden for a minute" in said
    assert (b"the watches do not end within 1 s" in said) is (WATCHES_THAT_DO_NOT_END in before)


async def watches(server: ApiServer, process: asyncio.subprocess.Process) -> None:
    async with asyncio.timeout(60):
        while not server.watched():
            assert process.returncode is None
            await asyncio.sleep(0.01)
