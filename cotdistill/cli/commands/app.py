"""app start, stop: the dashboard in the browser, and everything that runs for this store."""

from __future__ import annotations

import argparse
import fcntl
import os
import re
import signal
import socket
import subprocess
import sys
import time
import tomllib
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cotdistill
from cotdistill import exposure
from cotdistill.cli.command import Command, Noun, Result, whole_number
from cotdistill.cli.output import note
from cotdistill.errors import CotdistillError, UsageError
from cotdistill.execution.supervisor import stop_all
from cotdistill.store.locks import is_held, send
from cotdistill.store.store import Store
from cotdistill.text import plural

FIRST_PORT = 8501
START_SECONDS = 60.0
STOP_SECONDS = 10.0
LEAST_PASSWORD = 12
# Every address of this machine.
ANY = ("0.0.0.0", "::")


@dataclass(frozen=True)
class Started:
    """What `app start` answers."""

    url: str  # address of the dashboard
    port: int  # its port
    pid: int  # its process
    log: str  # its log file


@dataclass(frozen=True)
class Stopped:
    """What `app stop` answers."""

    dashboards: list[int]  # processes of dashboards that were stopped
    processes: list[int]  # supervisor and workers that were stopped


def start(arguments: argparse.Namespace) -> Result:
    """Serve the pages on localhost. In the foreground this process becomes the dashboard and never returns."""
    root = Path(cotdistill.__file__).resolve().parents[1]
    if not (root / "app.py").is_file():
        raise UsageError(
            f"There is no app.py in {root}: the pages come with a clone of the repository.",
            "Clone it and run make app there.",
        )
    _check_exposure(root, arguments.address, arguments.expose)
    store = Store.open()
    port = _port(arguments.port)
    path = store.home / "dashboards" / f"{port}.lock"
    lock = _lock(path)
    url = f"http://{'localhost' if arguments.address in ANY else arguments.address}:{port}"
    background = arguments.background or arguments.json
    words = _words(root, port, arguments.address, headless=background or not _has_screen())
    # The dashboard runs in the repository's folder, so a relative folder would mean another store there.
    environment = {
        **os.environ,
        "COTDISTILL_HOME": str(store.home.resolve()),
        exposure.EXPOSED: str(int(arguments.address not in exposure.LOCAL)),
    }
    if not background:
        note(f"The dashboard is at {url} (Ctrl-C closes it, training continues; make stop ends everything)")
        os.chdir(root)
        os.set_inheritable(lock, True)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        _sign(lock, os.getpid())
        os.execve(words[0], words, environment)
    log = store.home / "dashboards" / f"{port}.log"
    with log.open("ab") as output:
        os.ftruncate(output.fileno(), 0)
        process = subprocess.Popen(
            words,
            cwd=root,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=(lock,),
            start_new_session=True,
        )
    _sign(lock, process.pid)
    os.close(lock)
    _await(process, f"{url}/_stcore/health", log)
    started = Started(url, port, process.pid, str(log))
    return Result(started, f"The dashboard is at {url} (cotdistill app stop ends it)")


def stop(arguments: argparse.Namespace) -> Result:
    """Stop dashboards, supervisor and workers; running jobs continue from their checkpoint at the next start."""
    store = Store.open()
    dashboards = [pid for lock in sorted((store.home / "dashboards").glob("*.lock")) if (pid := _end(lock)) is not None]
    processes = stop_all(store)
    document = Stopped(dashboards, processes)
    if not dashboards and not processes:
        return Result(document, "Nothing was running.")
    counts = [plural(len(dashboards), "dashboard"), plural(len(processes), "training process", "training processes")]
    text = f"Stopped {counts[0]} and {counts[1]}."
    waiting = len(store.queue.jobs(state="queued")) + len(store.queue.jobs(state="running"))
    return Result(
        document, text + (f" {plural(waiting, 'unfinished job')} will continue at the next start." if waiting else "")
    )


def _check_exposure(root: Path, address: str, allowed: bool) -> None:
    """UsageError for an address that other machines reach without --expose and a password or login; else a warning."""
    if address in exposure.LOCAL:
        return
    if not re.fullmatch(r"[0-9A-Za-z.:-]{1,253}", address):
        raise UsageError(f"{address[:80]!r} is no address.", "Expected a name or a number, for example 0.0.0.0.")
    if not allowed:
        raise UsageError(
            f"Other machines could reach the dashboard at {address}.",
            "If that is meant: --expose, with COTDISTILL_PASSWORD set.",
        )
    login = any(_sets_a_login_up(folder / ".streamlit" / "secrets.toml") for folder in (root, Path.home()))
    if login and not exposure.can_log_in():
        raise UsageError(
            "A login is set up in .streamlit/secrets.toml, but the package that it needs is not installed: Authlib.",
            exposure.INSTALL,
        )
    if not login and len(os.environ.get(exposure.PASSWORD, "")) < LEAST_PASSWORD:
        raise UsageError(
            f"{exposure.PASSWORD} is not set, or shorter than {LEAST_PASSWORD} characters.",
            "Set it in the environment, or set a login up ([auth] in .streamlit/secrets.toml). See SECURITY.md.",
        )
    note("Warning: other machines can reach this dashboard. Its users can read the store, start jobs and delete runs.")
    note("It serves plain HTTP: use a proxy with TLS on a shared network.")


def _sets_a_login_up(secrets: Path) -> bool:
    try:
        return "auth" in tomllib.loads(secrets.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False


def _port(wanted: int | None) -> int:
    """The wanted port, or the first free one; UsageError if the wanted one is taken."""
    if wanted is not None:
        if not _is_free(wanted):
            raise UsageError(f"Port {wanted} is taken or not allowed.", "Leave it out to take a free one.")
        return wanted
    for port in range(FIRST_PORT, FIRST_PORT + 50):
        if _is_free(port):
            return port
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except (OSError, OverflowError):
            return False
    return True


def _lock(path: Path) -> int:
    """A lock that the dashboard holds for life, which tells it from another process of the same number."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise UsageError(
            f"A dashboard of this store is just starting on port {path.stem}.", "Open it, or try again."
        ) from None
    return descriptor


def _sign(lock: int, pid: int) -> None:
    """Write into a lock who holds it, in the form that `locks.holder` reads."""
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{pid} -1".encode(), 0)


def _end(lock: Path) -> int | None:
    """Terminate the holder of a dashboard's lock, then kill it; its process, None if it was not held."""
    pid: int | None = None
    for number in (signal.SIGTERM, signal.SIGKILL):
        pid = send(lock, number) or pid
        deadline = time.monotonic() + STOP_SECONDS
        while is_held(lock) and time.monotonic() < deadline:
            time.sleep(0.05)
        if not is_held(lock):
            lock.unlink(missing_ok=True)
            return pid
    note(f"The dashboard of {lock.stem} does not stop (process {pid}).")
    return pid


def _has_screen() -> bool:
    """Whether a browser can be opened here; without one Streamlit only serves."""
    return sys.stdout.isatty() and (
        sys.platform == "darwin" or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
    )


def _words(root: Path, port: int, address: str, *, headless: bool) -> list[str]:
    options = {
        "server.port": port,
        "server.address": address,
        "server.headless": headless,
        "server.showEmailPrompt": False,
        "browser.gatherUsageStats": False,
    }
    settings = [part for name, value in options.items() for part in (f"--{name}", str(value).lower())]
    return [sys.executable, "-m", "streamlit", "run", str(root / "app.py"), *settings]


def _await(process: subprocess.Popen[Any], url: str, log: Path) -> None:
    """Return when the dashboard answers; CotdistillError with the end of its log if it does not."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    process.kill()
    process.wait()
    tail = " ".join(log.read_text(errors="replace").split()[-60:])
    raise CotdistillError(f"The dashboard did not start: {tail or 'no output'}", f"The whole log: {log}")


def _start_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--port", type=whole_number(1), metavar="N", help=f"default: the first free one from {FIRST_PORT}"
    )
    parser.add_argument(
        "--address",
        default="localhost",
        metavar="ADDRESS",
        help="where to listen (default: localhost, this machine alone)",
    )
    parser.add_argument(
        "--expose",
        action="store_true",
        help="allow an address that other machines reach; asks for COTDISTILL_PASSWORD or a login",
    )
    parser.add_argument("--background", action="store_true", help="return as soon as it answers (implied by --json)")


NOUN = Noun(
    "app",
    "the dashboard in the browser",
    (
        Command(
            "app",
            "start",
            "serve the dashboard on localhost",
            start,
            Started,
            _start_arguments,
        ),
        Command(
            "app",
            "stop",
            "stop the dashboards, the supervisor and the workers of this store; jobs continue at the next start",
            stop,
            Stopped,
        ),
    ),
)
