"""A real HTTP server that speaks the chat protocol and misbehaves as it is told to; it counts what it was asked and what it answered."""

from __future__ import annotations

import json
import re
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

# What to do with a request: (question, how often it was asked before) -> an action; None means a proper answer.
Plan = Callable[[str, int], "tuple[Any, ...] | None"]


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 512

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.plan: Plan = lambda question, before: None
        self.asked: Counter[str] = Counter()
        self.answered: Counter[str] = Counter()
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.at: list[float] = []
        self.now = self.most = 0
        self.lock = threading.Lock()
        # Requests wait here while it is cleared, and are never answered if the client has gone meanwhile.
        self.gate = threading.Event()
        self.gate.set()
        self.hold_after: int | None = None
        # Headers of every reply.
        self.extra: dict[str, str] = {}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that has gone is part of the tests."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing is printed."""

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        asked = body["messages"][-1]["content"]
        question = re.search(r"Question: (.*)", asked).group(1)  # type: ignore[union-attr]
        server = self.server
        with server.lock:
            before = server.asked[question]
            server.asked[question] += 1
            server.bodies.append(body)
            server.headers.append(dict(self.headers))
            server.at.append(time.monotonic())
            server.now += 1
            server.most = max(server.most, server.now)
        try:
            self._act(server.plan(question, before), question, asked, body)
        finally:
            with server.lock:
                server.now -= 1

    def _act(self, action: tuple[Any, ...] | None, question: str, asked: str, body: dict[str, Any]) -> None:
        kind, *values = action or ("answer",)
        if kind == "slow":
            time.sleep(values[0])
        if kind in ("answer", "slow"):
            self._hold()
            if self._gone():
                return
            shown = re.search(r"The right answer is \((\w)\)", asked)
            label = values[0] if kind == "answer" and values else shown.group(1) if shown else "A"
            text = f"It follows from what was asked in {question} The answer is ({label})."
            usage = {"prompt_tokens": 50, "completion_tokens": 12}
            self._send(
                200,
                {
                    "choices": [{"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
                    "usage": usage,
                },
            )
            with self.server.lock:
                self.server.answered[question] += 1
        elif kind == "status":
            self._send(
                values[0],
                {"error": {"message": values[2] if len(values) > 2 else "no", "type": "told"}},
                values[1] if len(values) > 1 else {},
            )
        elif kind == "json":
            self._send(200, values[0])
        elif kind == "raw":
            self._raw(200, values[0])
        elif kind == "cut":
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b'{"choices": [')
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
        elif kind == "drip":
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            for _ in range(100):
                self.wfile.write(b" ")
                self.wfile.flush()
                time.sleep(values[0])

    def _hold(self) -> None:
        server = self.server
        if server.hold_after is not None and sum(server.answered.values()) >= server.hold_after:
            server.gate.clear()
        server.gate.wait(60)

    def _gone(self) -> bool:
        """Whether the client has closed its side: a request that nobody waits for is not worked on."""
        self.connection.setblocking(False)
        try:
            return self.connection.recv(1, socket.MSG_PEEK) == b""
        except BlockingIOError:
            return False
        except OSError:
            return True
        finally:
            self.connection.setblocking(True)

    def _send(self, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
        self._raw(status, json.dumps(body).encode(), headers)

    def _raw(self, status: int, content: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {**self.server.extra, **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@contextmanager
def serving() -> Iterator[Server]:
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.gate.set()
        server.shutdown()
        server.server_close()
        thread.join()
