from datetime import UTC, datetime

import pytest

from distill_runtime.client.trouble import Kind, classify_status, excerpt, parse_retry_after

NOW = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (429, Kind.THROTTLED),
        (408, Kind.SERVER_ERROR),
        (500, Kind.SERVER_ERROR),
        (502, Kind.SERVER_ERROR),
        (503, Kind.SERVER_ERROR),
        (504, Kind.SERVER_ERROR),
        (599, Kind.SERVER_ERROR),
        (400, Kind.REFUSED),
        (413, Kind.REFUSED),
        (422, Kind.REFUSED),
        (301, Kind.MISCONFIGURED),
        (401, Kind.MISCONFIGURED),
        (403, Kind.MISCONFIGURED),
        (404, Kind.MISCONFIGURED),
        (405, Kind.MISCONFIGURED),
        (204, Kind.MISCONFIGURED),
    ],
)
def test_a_status_tells_what_to_do(status: int, kind: Kind) -> None:
    trouble = classify_status(status, {}, b"", NOW)
    assert trouble.kind is kind
    assert str(status) in trouble.what


def test_a_redirect_says_where_to() -> None:
    assert classify_status(308, {"location": "https://b/v1"}, b"", NOW).what == "redirects (308) to https://b/v1"


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("0", 0.0),
        ("7", 7.0),
        ("1.5", 1.5),
        ("86400", 900.0),
        ("Thu, 01 Jan 2026 12:00:30 GMT", 30.0),
        ("Thu, 01 Jan 2026 11:59:00 GMT", None),
        ("-5", None),
        ("nan", None),
        ("soon", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(value: str | None, seconds: float | None) -> None:
    assert parse_retry_after(value, NOW) == seconds


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b'{"error":{"message":"too long","type":"x"}}', "too long"),
        (b'{"object":"error","message":"no such model"}', "no such model"),
        (b'{"detail":"Not Found"}', "Not Found"),
        (b'{"detail":[{"loc":["body"]}]}', '[{"loc":["body"]}]'),
        (b"<html>\n  Bad Gateway</html>", "<html> Bad Gateway</html>"),
        (b"\xff", "\ufffd"),
        (b"", ""),
    ],
)
def test_the_sentence_that_explains_an_error_is_found(body: bytes, text: str) -> None:
    assert excerpt(body) == text


def test_a_long_explanation_is_cut() -> None:
    assert len(excerpt(b"x" * 10_000)) == 300
