"""The first five minutes in a real browser: press the button, reload, kill the dashboard, and find the study finished."""

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright

from cotdistill.execution.supervisor import stop_all
from cotdistill.store.store import Store

ROOT = Path(__file__).parent.parent
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
ENDED = ("finished", "failed", "stopped")

pytestmark = pytest.mark.skipif(bool(os.environ.get("NO_BROWSER")), reason="NO_BROWSER is set")


def chrome():
    """The browser's path; its absence is a failure that says what to do."""
    found = os.environ.get("CHROME") or next((path for name in NAMES if (path := shutil.which(name))), None)
    assert found, (
        "No browser. Install one: sudo apt-get update && sudo apt-get install -y chromium (or make test NO_BROWSER=1)"
    )
    return found


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def serve(home, port):
    """The dashboard as a process of its own; returns when it answers."""
    environment = {
        **os.environ,
        "COTDISTILL_HOME": str(home),
        "COTDISTILL_STARTER_STEPS": "30",
        "COTDISTILL_STARTER_BASE_STEPS": "40",
        "COTDISTILL_STARTER_REPLICATES": "1",
    }
    command = [
        sys.executable,
        "-m",
        "streamlit",
        "run",
        "app.py",
        "--server.port",
        str(port),
        "--server.headless",
        "true",
    ]
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    for _ in range(300):
        with contextlib.suppress(OSError), urllib.request.urlopen(f"http://localhost:{port}/_stcore/health", timeout=1):
            return process
        time.sleep(0.1)
    raise AssertionError("the dashboard does not answer")


@pytest.fixture
def page():
    sandbox = () if os.getuid() else ("--no-sandbox",)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chrome(), args=[*FLAGS, *sandbox])
        opened = browser.new_page(viewport={"width": 1440, "height": 1000})
        opened.set_default_timeout(60_000)
        yield opened
        browser.close()


def at_rest(page):
    """Returns when the page is drawn to its end: a key or a click before that may go to what is about to be replaced."""
    page.locator('[data-testid="stApp"][data-test-script-state="notRunning"]').wait_for()


def states(home):
    return [job.state for job in Store.open(home).queue.jobs()]


@pytest.mark.timeout(420)
def test_the_starter_study_is_one_button_and_survives_a_reload_and_a_killed_dashboard(tmp_path, page):
    home, port = tmp_path / "store", free_port()
    server = serve(home, port)
    try:
        page.goto(f"http://localhost:{port}/")
        page.get_by_role("button", name="Run the starter study").click()
        page.get_by_role("button", name="Start training").click()
        deadline = time.monotonic() + 240
        while states(home).count("finished") < 2 and time.monotonic() < deadline:
            time.sleep(0.5)
        page.reload()
        page.get_by_text("Why do rationales help a small student?").wait_for()
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()
        server = serve(home, port)
        page.goto(f"http://localhost:{port}/Train")
        page.get_by_role("heading", name="Queue").wait_for()
        while not all(state in ENDED for state in states(home)) and time.monotonic() < deadline:
            time.sleep(0.5)
        assert set(states(home)) == {"finished"} and len(states(home)) == 11
        page.get_by_text("10 runs, 10 done and struck out").wait_for()
        page.goto(f"http://localhost:{port}/Compare")
        page.get_by_text("Starter study: where should the rationale go").first.wait_for()
        page.get_by_text("accuracy on test, percent").first.wait_for()
        page.goto(f"http://localhost:{port}/Data")
        page.get_by_text("One example under every condition").wait_for()
        page.goto(f"http://localhost:{port}/Saliency?student=post_cot&target=words%3A0-0")
        page.get_by_title("this is what is explained").wait_for()
        page.locator("button[data-variant=pills]").nth(3).click()
        page.wait_for_url(re.compile("target=words(%3A|:)0-3"))
        page.wait_for_function("document.querySelectorAll('[title*=\"this is what is explained\"]').length > 1")
        assert page.get_by_text("Traceback").count() == 0
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()
        stop_all(Store.open(home))


def test_every_page_of_an_empty_store_says_what_it_will_show_and_asks_nobody_outside(tmp_path, page):
    port = free_port()
    server = serve(tmp_path / "store", port)
    outside = []
    page.on(
        "request",
        lambda request: (
            None
            if request.url.startswith((f"http://localhost:{port}", "data:", "blob:"))
            else outside.append(request.url)
        ),
    )
    try:
        for name in ("", "Data", "Train", "Compare", "Compare?study=nonsense&baseline=%3Cscript%3E", "Saliency"):
            page.goto(f"http://localhost:{port}/{name}")
            page.locator("h1").first.wait_for()
            assert page.get_by_text("Traceback").count() == 0
            assert page.get_by_text("Something went wrong").count() == 0
        assert outside == []
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()
