"""How long a server asks to be left alone: Retry-After, and the x-ratelimit headers of hosted services."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from datetime import datetime

from urllib3.exceptions import InvalidHeader
from urllib3.util import Retry

# Limits come as x-ratelimit-remaining-requests and x-ratelimit-reset-requests, the same for tokens, or without either.
KINDS = ("-requests", "-tokens", "")
_UNITS = {"d": 86_400.0, "h": 3_600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|[dhms])")
# A plain number above these is a moment (in milliseconds, in seconds since 1970), below them a number of seconds.
_MILLISECONDS, _MOMENT = 1e11, 1e9


def retry_after(value: str | None) -> float | None:
    """The seconds that a Retry-After header asks for, in seconds or as a date; None without one, or where it is
    neither.
    """
    if not value:
        return None
    try:
        return float(Retry(retry_after_max=1 << 30).parse_retry_after(value))
    except (InvalidHeader, ValueError, OverflowError):
        return None


def refused_wait(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait after a refusal with these headers; None where they do not say."""
    milliseconds = reset_seconds(f"{headers.get('retry-after-ms', '')}ms")
    if milliseconds is not None:
        return milliseconds
    asked = retry_after(headers.get("Retry-After"))
    return asked if asked is not None else exhausted_wait(headers)


def exhausted_wait(headers: Mapping[str, str]) -> float | None:
    """Seconds until every limit that these headers call used up is refilled; None where none is."""
    waits = []
    for kind in KINDS:
        remaining = headers.get(f"x-ratelimit-remaining{kind}", "")
        if re.fullmatch(r"-?\d+(?:\.\d+)?", remaining) and float(remaining) <= 0:
            waits.append(reset_seconds(headers.get(f"x-ratelimit-reset{kind}", "")))
    known = [wait for wait in waits if wait is not None]
    return max(known) if known else None


def reset_seconds(value: str) -> float | None:
    """Seconds until a reset given as `6m0s`, `20ms`, a number of seconds, a moment since 1970 or an ISO date; None for
    anything else.
    """
    text = value.strip()
    if re.fullmatch(r"\d{1,20}(?:\.\d+)?", text):
        number = float(text)
        if number > _MILLISECONDS:
            number /= 1000
        return max(0.0, number - time.time()) if number > _MOMENT else number
    if re.fullmatch(f"(?:{_PART.pattern})+", text):
        return sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text))
    try:
        return max(0.0, datetime.fromisoformat(text).timestamp() - time.time())
    except (ValueError, OverflowError):
        return None
