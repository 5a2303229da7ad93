"""A teacher behind a server that speaks OpenAI's chat protocol (vLLM, Ollama, llama.cpp, hosted ones): one request, one
answer, and what went wrong.

Address and key are read from the environment when they are needed. They are never kept, logged or shown: no message of
this module holds them.
"""

from __future__ import annotations

import json
import os
import re
import time
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import urllib3
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    InvalidHeader,
    NewConnectionError,
    ReadTimeoutError,
    SSLError,
)
from urllib3.util import Retry

from cotdistill.config import plain
from cotdistill.errors import UsageError
from cotdistill.tasks.thinking import THOUGHT_FIELDS, message_parts, with_thinking
from cotdistill.teachers.elicitation import ElicitConfig, Request
from cotdistill.teachers.responses import Response

# Which key goes with which address: a key is never sent to an address that was given under another name.
PAIRS = (("COTDISTILL_TEACHER_URL", "COTDISTILL_TEACHER_KEY"), ("OPENAI_BASE_URL", "OPENAI_API_KEY"))
OPENAI = "https://api.openai.com/v1"
# An answer is a few kilobytes; whoever sends more than this is no teacher.
LARGEST = 8 << 20
# Parameters that a server may refuse by name.
DROPPABLE = ("top_p", "temperature", "seed", "stop")
# What of a server's own words is kept.
SHOWN = 200


@dataclass(frozen=True)
class Address:
    """Where a teacher is, and the key that opens it."""

    url: str = field(repr=False)
    key: str = field(repr=False)


class Refused(Exception):
    """A request without an answer.

    cause: timeout, connection, busy (429), server (5xx), malformed (no answer of the protocol), empty (no choice, or
    one without text), request (this one cannot be answered), denied (key, credit, address or model are wrong: no other
    request would fare better). wait: seconds that the server asks to be left alone, None where it does not.
    """

    def __init__(self, cause: str, detail: str, wait: float | None = None) -> None:
        super().__init__(f"{cause}: {detail}")
        self.cause, self.detail, self.wait = cause, detail, wait

    @property
    def again(self) -> bool:
        """Whether the same request may fare better later."""
        return self.cause not in ("request", "denied")


def address() -> Address:
    """From the environment; UsageError says what to set."""
    for where, which in PAIRS:
        url = os.environ.get(where, "").strip() or (
            OPENAI if which == "OPENAI_API_KEY" and os.environ.get(which) else ""
        )
        if not url:
            continue
        try:
            parts = urlsplit(url)
            usable = (
                parts.scheme in ("http", "https") and bool(parts.hostname) and not parts.username and parts.port != 0
            )
        except ValueError:
            usable = False
        if not usable:
            raise UsageError(
                f"{where} is no address of a server.",
                f"Expected http(s)://HOST[:PORT]/v1 without a name or password; a key goes into {which}.",
            )
        return Address(url.rstrip("/"), os.environ.get(which, "").strip())
    raise UsageError(
        "No teacher's address is set in this process.",
        "Set COTDISTILL_TEACHER_URL (http://localhost:8000/v1 for vLLM, :11434/v1 for Ollama) and, where one is needed,"
        " COTDISTILL_TEACHER_KEY; or OPENAI_API_KEY. If workers run already, end them first so that they take it up:"
        " cotdistill app stop",
    )


def body_of(config: ElicitConfig, request: Request) -> dict[str, Any]:
    """The request as the protocol has it."""
    sampling, teacher = config.sampling, config.teacher
    body: dict[str, Any] = {
        "model": teacher.model, "messages": request.turns, "temperature": sampling.temperature, "top_p": sampling.top_p,
        teacher.limit_name: sampling.max_tokens, "stream": False,
    }  # fmt: skip
    if sampling.stop:
        body["stop"] = list(sampling.stop)
    if sampling.seed >= 0:
        body["seed"] = sampling.seed + request.sample
    # A field that is null is left out: some servers refuse a parameter even at its default.
    return {name: value for name, value in {**body, **plain(teacher.extra)}.items() if value is not None}


class Endpoint:
    """A server of chat completions; may be asked by many threads at once. timeout: seconds to connect, and for the
    whole of an answer.
    """

    def __init__(self, where: Address, threads: int, timeout: float) -> None:
        self._address, self._timeout = where, timeout
        self._headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if where.key:
            self._headers["Authorization"] = f"Bearer {where.key}"
        proxy = _proxy(where.url)
        limits: dict[str, Any] = {"maxsize": threads, "retries": False}
        self._pool = urllib3.ProxyManager(proxy, **limits) if proxy else urllib3.PoolManager(**limits)

    def ask(self, body: Mapping[str, Any], key: str) -> Response:
        """One answer; Refused says why there is none. Redirects are not followed: they would take the key elsewhere."""
        begun = time.monotonic()
        try:
            # Content from people may hold half characters; JSON escapes them.
            status, headers, content = self._sent(json.dumps(body).encode(), begun)
        except NewConnectionError:
            raise Refused("connection", "the server cannot be reached") from None
        except (ConnectTimeoutError, ReadTimeoutError, TimeoutError):
            raise Refused("timeout", f"no answer within {self._timeout:g} s") from None
        except SSLError:
            raise Refused("connection", "the server's certificate was not accepted, or it speaks no TLS") from None
        except (HTTPError, OSError):
            raise Refused("connection", "the connection was cut") from None
        if status != 200:
            raise self._refusal(status, headers, content)
        text, finish, usage = self._read(content)
        tokens = [usage.get(name) for name in ("prompt_tokens", "completion_tokens")]
        counted = [count if isinstance(count, int) and 0 <= count < 1 << 40 else None for count in tokens]
        return Response(key, str(body["model"]), text, finish, counted[0], counted[1], time.monotonic() - begun)

    def _sent(self, body: bytes, begun: float) -> tuple[int, Mapping[str, str], bytes]:
        timeout = urllib3.Timeout(connect=min(10.0, self._timeout), read=self._timeout)
        reply = self._pool.request(
            "POST",
            f"{self._address.url}/chat/completions",
            body=body,
            headers=self._headers,
            timeout=timeout,
            redirect=False,
            preload_content=False,
        )
        try:
            parts: list[bytes] = []
            size = 0
            while part := reply.read1(65_536):
                parts.append(part)
                size += len(part)
                if size > LARGEST:
                    raise Refused("malformed", f"an answer of more than {LARGEST >> 20} MiB")
                # A server may send a byte now and then for ever: each is in time, all of them are not.
                if time.monotonic() - begun > self._timeout:
                    raise TimeoutError
            return reply.status, reply.headers, b"".join(parts)
        except BaseException:
            reply.close()
            raise
        finally:
            reply.release_conn()

    def _refusal(self, status: int, headers: Mapping[str, str], content: bytes) -> Refused:
        wait = retry_after(headers.get("Retry-After"))
        said = self._said(content)
        message = f"the server answers {status}" + (f": {said}" if said else "")
        if status in (401, 403):
            # What a server says of a key may hold a part of it.
            return Refused("denied", f"the server answers {status}: the key is missing or not accepted")
        if status in (402, 404, 405, 501) or (status == 429 and "insufficient_quota" in said):
            return Refused("denied", message)
        if status == 429:
            return Refused("busy", message, wait)
        if status in (408, 425) or status >= 500:
            return Refused("server", message, wait)
        if 300 <= status < 400:
            return Refused("denied", f"the server answers {status}, which leads elsewhere; it is not followed")
        if refused := next((name for name in DROPPABLE if re.search(rf"\b{name}\b", said)), ""):
            message += f"; leave it out: --extra '{{\"{refused}\": null}}'"
        return Refused("request", message)

    def _error_in_200(self, error: Any, content: bytes) -> Refused:
        """An error that a server sends with status 200: its own words, and its code where it names one."""
        code = error.get("code") if isinstance(error, dict) else None
        if isinstance(code, int) and 400 <= code < 600 and code != 400:
            return self._refusal(code, {}, content)
        return Refused("request", f"the server answers with an error: {self._said(content)}")

    def _said(self, content: bytes) -> str:
        """The server's own words about an error, on one line, without address and key."""
        try:
            error = json.loads(content.decode("utf-8", "replace"))["error"]
            words = (
                f"{error.get('message', '')} ({error.get('code') or error.get('type') or ''})"
                if isinstance(error, dict)
                else str(error)
            )
        except (ValueError, KeyError, TypeError, RecursionError):
            words = content.decode("utf-8", "replace")
        for secret in (self._address.key, self._address.url, urlsplit(self._address.url).netloc):
            words = words.replace(secret, "…") if secret else words
        return " ".join("".join(c if c.isprintable() else " " for c in words).split()).removesuffix(" ()")[:SHOWN]

    def _read(self, content: bytes) -> tuple[str, str, Mapping[str, Any]]:
        """Text, finish and usage of an answer; Refused where it is none."""
        try:
            answer = json.loads(content)
        except (ValueError, RecursionError):
            raise Refused("malformed", "the answer is no JSON") from None
        if isinstance(answer, dict) and answer.get("error"):
            raise self._error_in_200(answer["error"], content)
        choices = answer.get("choices") if isinstance(answer, dict) else None
        if not isinstance(choices, list):
            raise Refused("malformed", "the answer has no list of choices")
        if not choices:
            raise Refused("empty", "the answer has no choice")
        first = choices[0] if isinstance(choices[0], dict) else {}
        message = first.get("message")
        if not isinstance(message, dict):
            raise Refused("malformed", "the choice has no message")
        text, thinking = message_parts(message)
        finish = first.get("finish_reason")
        # What a model was about to say and was cut off, or kept back, is an answer without text: asking again costs the
        # same for nothing.
        if finish == "content_filter" or message.get("refusal"):
            raise Refused("request", "the server filtered the answer")
        if not text.strip() and finish == "length":
            raise Refused("request", "the limit of tokens was spent before a word of the answer; raise max_tokens")
        if not text.strip() and thinking.strip():
            field = next((name for name in THOUGHT_FIELDS if message.get(name)), "parts of type reasoning")
            raise Refused(
                "request",
                f"all of the answer stands in {field}, as a thought, and nothing in content; raise max_tokens, or ask "
                "the server to think less",
            )
        if not text.strip():
            raise Refused("empty", "the answer has no text")
        text = with_thinking(thinking, text)
        usage = answer.get("usage")
        return text, finish if isinstance(finish, str) else "", usage if isinstance(usage, dict) else {}


def retry_after(value: str | None) -> float | None:
    """The seconds that a Retry-After header asks for, given as seconds or as a date; None without one, or for one that
    says neither.
    """
    if not value:
        return None
    try:
        return float(Retry(retry_after_max=1 << 30).parse_retry_after(value))
    except (InvalidHeader, ValueError, OverflowError):
        return None


def _proxy(url: str) -> str | None:
    """The proxy that the environment names for an address."""
    parts = urlsplit(url)
    if urllib.request.proxy_bypass(parts.hostname or ""):
        return None
    return urllib.request.getproxies().get(parts.scheme)
