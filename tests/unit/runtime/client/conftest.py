import pytest

from distill_runtime.client import ask, endpoints


@pytest.fixture
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ask, "_FIRST_BACKOFF_SECONDS", 0.01)
    monkeypatch.setattr(endpoints, "_FIRST_REST_SECONDS", 0.02)
    monkeypatch.setattr(ask, "_WATCH_SECONDS", 0.05)
