"""A hub on this machine for tests: data sets in folders, served with the hub's own addresses, headers and documents.

Run in a thread; `HF_ENDPOINT` of a process of its own points to it, since the hub's client reads that when it is imported.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse


class _Hub(BaseHTTPRequestHandler):
    """repos: by OWNER/NAME, by revision (commit or branch), the commit and its folder."""

    repos: Mapping[str, Mapping[str, tuple[str, Path]]]
    asked: list[str]

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        self._answer(body=True, given=self.rfile.read(length))

    def log_message(self, format: str, *args: Any) -> None:
        """Tests look at `asked` instead."""

    def _answer(self, *, body: bool, given: bytes = b"") -> None:
        path = unquote(urlparse(self.path).path).strip("/")
        self.asked.append(f"{self.command} /{path}")
        parts = path.split("/")
        if parts[:1] == ["datasets"] and "resolve" in parts:
            at = parts.index("resolve")
            return self._file("/".join(parts[1:at]), "/".join(parts[at + 1 :]), body=body)
        if parts[:2] == ["api", "datasets"] and len(parts) >= 4:
            return self._api("/".join(parts[2:4]), parts[4:], given)
        self._send(200, b"a hub" if body else b"", {})

    def _file(self, repo: str, rest: str, *, body: bool) -> None:
        found = self._revision(repo, rest)
        if found is None:
            return
        commit, folder, name = found
        path = folder / name
        if not path.is_file():
            self._send(404, b"", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit})
            return
        content = path.read_bytes()
        headers = {
            "ETag": f'"{hashlib.sha256(content).hexdigest()}"',
            "X-Repo-Commit": commit,
            "Accept-Ranges": "bytes",
        }
        self._send(200, content, headers, body=body)

    def _api(self, repo: str, rest: list[str], given: bytes) -> None:
        what = rest[0] if rest else "revision"
        found = self._revision(repo, "/".join(rest[1:]) or "main")
        if found is None:
            return
        commit, folder, name = found
        files = sorted(p for p in folder.rglob("*") if p.is_file())
        listed = [
            {"type": "file", "path": p.relative_to(folder).as_posix(), "size": p.stat().st_size, "oid": "0" * 40}
            for p in files
        ]
        folders = {
            parent.relative_to(folder).as_posix()
            for p in files
            for parent in p.parents
            if parent != folder and folder in parent.parents
        }
        every = [*listed, *({"type": "directory", "path": one, "oid": "0" * 40, "size": 0} for one in sorted(folders))]
        if what == "tree":
            inside = [one for one in every if not name or str(one["path"]).startswith(f"{name}/")]
            return self._document(
                inside if inside or not name else {"error": "not there"},
                200 if inside or not name else 404,
                "EntryNotFound",
            )
        if what == "paths-info":
            wanted = json.loads(given)["paths"]
            return self._document([one for one in every if one["path"] in wanted])
        document = {
            "id": repo,
            "sha": commit,
            "private": False,
            "gated": False,
            "disabled": False,
            "siblings": [],
            "tags": [],
            "downloads": 0,
            "likes": 0,
        }
        self._document({**document, "siblings": [{"rfilename": one["path"]} for one in listed]})

    def _revision(self, repo: str, rest: str) -> tuple[str, Path, str] | None:
        known = self.repos.get(repo)
        if known is None:
            self._document({"error": "Repository not found"}, 404, "RepoNotFound")
            return None
        for revision, (commit, folder) in known.items():
            if rest == revision or rest.startswith(f"{revision}/"):
                return commit, folder, rest[len(revision) + 1 :]
        self._document({"error": "Invalid rev id"}, 404, "RevisionNotFound")
        return None

    def _document(self, value: Any, status: int = 200, code: str = "") -> None:
        headers = {"Content-Type": "application/json", **({"X-Error-Code": code} if status != 200 else {})}
        self._send(status, json.dumps(value).encode(), headers)

    def _send(self, status: int, content: bytes, headers: Mapping[str, str], *, body: bool = True) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if body and self.command != "HEAD":
            self.wfile.write(content)


@contextmanager
def served(repos: Mapping[str, Mapping[str, tuple[str, Path]]]) -> Iterator[tuple[str, list[str]]]:
    """The address of a hub that holds these data sets, and the requests that it was sent."""
    asked: list[str] = []
    handler = type("Hub", (_Hub,), {"repos": repos, "asked": asked})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
