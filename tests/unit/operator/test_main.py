"""The operator's process: how it ends when it cannot do its work, and when it is told to."""

import asyncio
import json
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from unit.operator.api_server import ApiServer
from unit.operator.builders import SETTINGS

KOPF_WAITS_SECONDS = 5.0


@asynccontextmanager
async def operator(
    server: ApiServer, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[asyncio.subprocess.Process]:
    server.write_kubeconfig(directory / "kubeconfig")
    monkeypatch.setenv("KUBECONFIG", str(directory / "kubeconfig"))
    (directory / "operator.yaml").write_text(json.dumps(SETTINGS.to_json()), encoding="utf-8")
    command = ("-m", "distill_operator", "--config", str(directory / "operator.yaml"), "--port", "0")
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


async def test_ends_at_once_when_it_is_told_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with ApiServer().serving() as server, operator(server, tmp_path, monkeypatch) as process:
        async with asyncio.timeout(60):
            while not server.watched():
                assert process.returncode is None
                await asyncio.sleep(0.01)
        told_at = time.monotonic()
        process.send_signal(signal.SIGTERM)
        await process.communicate()
        assert process.returncode == 0
        assert time.monotonic() - told_at < KOPF_WAITS_SECONDS
