"""What can go wrong in an exchange with an endpoint, and what each kind calls for."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import Enum
from http import HTTPStatus

import orjson

_EXCERPT_CHARACTERS = 300
_EXCERPT_READ_BYTES = 10_000
_LONGEST_RETRY_AFTER_SECONDS = 900.0


class Kind(Enum):
    """Kinds of trouble; the value is the reason that a failure for good is recorded with."""

    UNREACHABLE = "unreachable"
    """No connection: the endpoint's trouble, not the request's. Ask elsewhere, or later."""
    THROTTLED = "throttled"
    """Too many requests: wait, and send fewer at once."""
    SERVER_ERROR = "serverError"
    """A 5xx: try again, so many times."""
    TIMEOUT = "timeout"
    """No answer in time: try again, so many times."""
    DISCONNECTED = "disconnected"
    """The connection broke under way: try again, so many times."""
    INVALID_RESPONSE = "invalidResponse"
    """A success that is no chat completion: try again, so many times."""
    REFUSED = "refused"
    """The request is wrong, for example too long, and the same for ever: a failure for good."""
    MISCONFIGURED = "misconfigured"
    """Every request would fare the same: the key, the URL or the model's name is wrong."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """One exchange that failed.

    Attributes:
        what: completes the sentence that begins with the endpoint's URL: "answers 503: loading the model".
        retry_after: seconds that the server asked to wait.
    """

    kind: Kind
    what: str
    retry_after: float | None = None


def classify_status(status: int, headers: Mapping[str, str], body: bytes, now: datetime) -> Trouble:
    """Judge a response whose status is not 200; the headers' names are in lower case."""
    what = f"answers {status}: {excerpt(body) or _phrase(status)}"
    retry_after = parse_retry_after(headers.get("retry-after"), now)
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return Trouble(Kind.THROTTLED, what, retry_after)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status == HTTPStatus.REQUEST_TIMEOUT:
        return Trouble(Kind.SERVER_ERROR, what, retry_after)
    if status in (
        HTTPStatus.BAD_REQUEST,
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        HTTPStatus.UNPROCESSABLE_ENTITY,
    ):
        return Trouble(Kind.REFUSED, what)
    if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
        what = f"redirects ({status}) to {headers.get('location', 'nowhere')}"
    return Trouble(Kind.MISCONFIGURED, what)


def parse_retry_after(value: str | None, now: datetime) -> float | None:
    """Read a Retry-After header, which holds seconds or a date (RFC 9110, 10.2.3).

    Returns:
        seconds from `now`, at most 15 minutes; None if there is no header or it makes no sense.
    """
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            date = parsedate_to_datetime(value)
            seconds = (date.replace(tzinfo=date.tzinfo or UTC) - now).total_seconds()
        except (ValueError, OverflowError):
            return None
    if not seconds >= 0:  # also false for NaN
        return None
    return min(seconds, _LONGEST_RETRY_AFTER_SECONDS)


def excerpt(body: bytes) -> str:
    """Find the sentence in an error's body that says what is wrong: OpenAI's and vLLM's forms, or plain text."""
    try:
        value = orjson.loads(body)
        for name in ("error", "message", "detail"):
            if isinstance(value, dict) and name in value:
                value = value[name]
        text = value if isinstance(value, str) else orjson.dumps(value).decode()
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):  # the second where it is nested too deep to be written
        text = body[:_EXCERPT_READ_BYTES].decode("utf-8", "replace")
    return " ".join(text[:_EXCERPT_READ_BYTES].split())[:_EXCERPT_CHARACTERS]


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "no explanation"
