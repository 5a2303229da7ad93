"""A teacher behind a server that speaks OpenAI's chat protocol (vLLM, Ollama, llama.cpp, hosted ones): one request, one
answer, and what went wrong.

Address and key are read from the environment when they are needed. They are never kept, logged or shown: no message of
this module holds them.
"""

from __future__ import annotations

import json
import math
import os
import re
import time
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlsplit

import urllib3
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NewConnectionError, ReadTimeoutError, SSLError

from cotdistill.config import plain
from cotdistill.errors import UsageError
from cotdistill.tasks.thinking import THOUGHT_FIELDS, message_parts, with_thinking
from cotdistill.teachers.elicitation import LIMIT_NAMES, ElicitConfig, Request
from cotdistill.teachers.rate_limits import exhausted_wait, refused_wait
from cotdistill.teachers.responses import Response

# Which key goes with which address: a key is never sent to an address that was given under another name.
PAIRS = (("COTDISTILL_TEACHER_URL", "COTDISTILL_TEACHER_KEY"), ("OPENAI_BASE_URL", "OPENAI_API_KEY"))
OPENAI = "https://api.openai.com/v1"
# An answer is a few kilobytes; whoever sends more than this is no teacher.
LARGEST = 8 << 20
# Parameters of sampling that a server may refuse by name; a field that a person adds may be refused, too.
DROPPABLE = ("top_p", "temperature", "seed", "stop")
# Words that refuse a parameter as such, not its value ("max_tokens is too large").
_REFUSES = re.compile(
    r"unsupported|unrecogni[sz]ed|unknown|unexpected|deprecated|instead|extra (?:inputs|fields)"
    r"|only (?:one|the default)"
    r"|(?:not|n['’]t|cannot)\s+(?:\w+\s+){0,2}?(?:support|permit|allow|accept|recogni[sz]e|available|specified|used)",
    re.IGNORECASE,
)
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
    request would fare better). wait: seconds that the server asks to be left alone, None where it does not. parameter:
    the field of the request that it refuses, "" for none. tokens: (read, written) of an answer that is of no use.
    """

    def __init__(
        self,
        cause: str,
        detail: str,
        wait: float | None = None,
        *,
        parameter: str = "",
        tokens: tuple[int, int] = (0, 0),
    ) -> None:
        super().__init__(f"{cause}: {detail}")
        self.cause, self.detail, self.wait = cause, detail, wait
        self.parameter, self.tokens = parameter, tokens

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
    whole of an answer. drop_refused: a parameter that the server refuses is left out, of this request and of all that
    follow. What the limit of tokens is called is found out without asking.
    """

    def __init__(self, where: Address, threads: int, timeout: float, *, drop_refused: bool = False) -> None:
        self._address, self._timeout, self._drop_refused = where, timeout, drop_refused
        # Names that this server has refused.
        self._refused: set[str] = set()
        self._headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if where.key:
            self._headers["Authorization"] = f"Bearer {where.key}"
        proxy = _proxy(where.url)
        limits: dict[str, Any] = {"maxsize": threads, "retries": False}
        self._pool = urllib3.ProxyManager(proxy, **limits) if proxy else urllib3.PoolManager(**limits)

    def ask(self, body: Mapping[str, Any], key: str) -> Response:
        """One answer; Refused says why there is none. Redirects are not followed: they would take the key elsewhere."""
        while True:
            sent = self._accepted(body)
            try:
                response = self._asked(sent, body.get("stop"), key)
            except Refused as refused:
                if not self._may_leave_out(refused.parameter, sent):
                    raise
                self._refused.add(refused.parameter)
                continue
            dropped = [name for name in body if name not in sent and name not in LIMIT_NAMES]
            remarks = [f"sent without {name}, which the server refused" for name in dropped]
            return replace(response, remarks=(*remarks, *response.remarks))

    def _accepted(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """The request without what this server has refused, the limit of tokens under the name that it takes."""
        names = {name: next(other for other in LIMIT_NAMES if other != name) for name in LIMIT_NAMES}
        taken = {names.get(name, name) if name in self._refused else name: value for name, value in body.items()}
        return {name: value for name, value in taken.items() if name not in self._refused or name in LIMIT_NAMES}

    def _may_leave_out(self, name: str, sent: Mapping[str, Any]) -> bool:
        """Whether the request is sent once more without a parameter: each is refused once at most."""
        if name not in sent:
            return False
        return not self._refused.intersection(LIMIT_NAMES) - {name} if name in LIMIT_NAMES else self._drop_refused

    def _asked(self, body: Mapping[str, Any], stop: Any, key: str) -> Response:
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
            raise self._refusal(status, headers, content, body)
        answer = self._answer(headers, content, body)
        tokens = _tokens(answer)
        try:
            text, finish, remarks = self._read(answer, body, stop)
        except Refused as refused:
            # An answer of no use is paid for, too.
            refused.tokens = (tokens[0] or 0, tokens[1] or 0)
            raise
        return Response(
            key,
            str(body["model"]),
            text,
            finish,
            *tokens,
            time.monotonic() - begun,
            served=_named(answer, "model"),
            fingerprint=_named(answer, "system_fingerprint"),
            logprob=_logprob(answer["choices"][0]),
            remarks=remarks,
            wait=exhausted_wait(headers) or 0.0,
        )

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

    def _refusal(self, status: int, headers: Mapping[str, str], content: bytes, body: Mapping[str, Any]) -> Refused:
        wait = refused_wait(headers)
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
        return self._request_refusal(message, content, body)

    def _request_refusal(self, message: str, content: bytes, body: Mapping[str, Any]) -> Refused:
        """This request cannot be answered; the parameter that is at fault is named, where the server names one."""
        said = self._said(content)
        named = named_parameter(body, said, content)
        if named and named not in LIMIT_NAMES:
            message += f"; leave it out: --extra '{{\"{named}\": null}}', or --drop-refused for all that it refuses"
        return Refused("request", message, parameter=named if _REFUSES.search(said) else "")

    def _answer(self, headers: Mapping[str, str], content: bytes, body: Mapping[str, Any]) -> dict[str, Any]:
        """A reply with at least one choice; Refused where it is none, or holds an error for all its status 200."""
        try:
            answer = json.loads(content)
        except (ValueError, RecursionError):
            raise Refused("malformed", "the answer is no JSON") from None
        if isinstance(answer, dict) and (error := answer.get("error")):
            code = error.get("code") if isinstance(error, dict) else None
            if isinstance(code, int) and 400 < code < 600:
                raise self._refusal(code, headers, content, body)
            message = f"the server answers with an error: {self._said(content)}"
            raise self._request_refusal(message, content, body)
        choices = answer.get("choices") if isinstance(answer, dict) else None
        if not isinstance(choices, list):
            raise Refused("malformed", "the answer has no list of choices")
        if not choices:
            raise Refused("empty", "the answer has no choice")
        if not isinstance(choices[0], dict) or not isinstance(choices[0].get("message"), dict):
            raise Refused("malformed", "the choice has no message")
        return dict(answer)

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

    def _read(self, answer: Mapping[str, Any], body: Mapping[str, Any], stop: Any) -> tuple[str, str, tuple[str, ...]]:
        """(text, finish, what was not done as asked) of an answer; Refused where it has no text."""
        first = answer["choices"][0]
        message = first["message"]
        text, thinking = message_parts(message)
        finish = first.get("finish_reason")
        remarks = _ignored(answer, body)
        text, cut = without_stop(text, stop)
        if cut:
            finish = "stop"
            remarks.append("the stop text was left in; it is cut off here")
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
        return with_thinking(thinking, text), finish if isinstance(finish, str) else "", tuple(remarks)


def named_parameter(body: Mapping[str, Any], said: str, content: bytes) -> str:
    """The field of a request that an error names: in its own field `param`, else in the server's words; "" for none."""
    try:
        param = json.loads(content)["error"]["param"]
    except (ValueError, KeyError, TypeError, RecursionError):
        param = None
    candidates = [name for name in body if name not in ("model", "messages")]
    if isinstance(param, str) and param in candidates:
        return param
    candidates.sort(key=lambda name: DROPPABLE.index(name) if name in DROPPABLE else len(DROPPABLE))
    # A single letter (n) is a name only between quotes.
    forms = {name: rf"\b{re.escape(name)}\b" if len(name) > 1 else rf"[\"'`]{name}[\"'`]" for name in candidates}
    return next((name for name in candidates if re.search(forms[name], said)), "")


def without_stop(text: str, stop: Any) -> tuple[str, bool]:
    """A text up to the first of the stop texts, as the protocol has it, and whether there was one to cut at."""
    stops = [stop] if isinstance(stop, str) else stop if isinstance(stop, list) else []
    places = [text.find(piece) for piece in stops if isinstance(piece, str) and piece and piece in text]
    return (text[: min(places)], True) if places else (text, False)


def same_model(asked: str, served: str) -> bool:
    """Whether a server's name of a model may mean the one that was asked for: its path, file ending, revision or date
    apart.
    """
    names = [re.sub(r"(\.gguf|:latest|@[^/]*)$", "", name.casefold()).rpartition("/")[2] for name in (asked, served)]
    return names[0] == names[1] or bool(re.fullmatch(rf"{re.escape(names[0])}[-:@]\d[\d.-]*", names[1]))


def _ignored(answer: Mapping[str, Any], body: Mapping[str, Any]) -> list[str]:
    """What was asked for and did not come, in words."""
    asked, count = body.get("n"), len(answer["choices"])
    remarks = []
    if isinstance(asked, int) and asked != count:
        remarks.append(f"asked for {asked} choices (n), got {count}")
    if count > 1:
        remarks.append("of several choices the first is kept; --samples asks for several")
    if body.get("logprobs") and _logprob(answer["choices"][0]) is None:
        remarks.append("asked for log-probabilities (logprobs), got none")
    return remarks


def _logprob(choice: Mapping[str, Any]) -> float | None:
    """Mean log-probability of an answer's tokens, where the server tells them."""
    held = choice.get("logprobs")
    tokens = held.get("content") if isinstance(held, dict) else None
    values = [token.get("logprob") for token in tokens if isinstance(token, dict)] if isinstance(tokens, list) else []
    known = [float(value) for value in values if isinstance(value, (int, float)) and math.isfinite(value)]
    return sum(known) / len(known) if known else None


def _named(answer: Mapping[str, Any], field: str) -> str:
    """A name that a reply gives, cut to what a table can hold."""
    value = answer.get(field)
    return "".join(c for c in value if c.isprintable())[:SHOWN] if isinstance(value, str) else ""


def _tokens(answer: Mapping[str, Any]) -> tuple[int | None, int | None]:
    """Tokens (read, written) as the server counts them."""
    usage = answer.get("usage")
    counts = [usage.get(name) if isinstance(usage, dict) else None for name in ("prompt_tokens", "completion_tokens")]
    known = [count if isinstance(count, int) and 0 <= count < 1 << 40 else None for count in counts]
    return known[0], known[1]


def _proxy(url: str) -> str | None:
    """The proxy that the environment names for an address."""
    parts = urlsplit(url)
    if urllib.request.proxy_bypass(parts.hostname or ""):
        return None
    return urllib.request.getproxies().get(parts.scheme)
