"""In a real browser: a person marks ten examples, blind, and trains a student on them."""

import os
import signal
import time

import pytest

from cotdistill.execution.supervisor import stop_all
from cotdistill.execution.worker import work
from cotdistill.keytokens.annotations import AnnotationSet
from cotdistill.planning.plan import launch, plan
from cotdistill.store.store import Store
from cotdistill.studies.spec import study_spec
from tests.test_browser import free_port, page, pytestmark, serve
from tests.test_pages import SMALL

__all__ = ["page", "pytestmark"]
MARKED = 10


@pytest.mark.timeout(300)
def test_ten_examples_are_marked_and_trained_on(tmp_path, page):
    home, port = tmp_path / "store", free_port()
    store = Store.open(home)
    launch(store, plan(store, study_spec(None, {**SMALL, "conditions": "label_only,post_cot", "replicates": 1})))
    work(store)
    server = serve(home, port)
    try:
        page.goto(f"http://localhost:{port}/Key_tokens?part=mark")
        page.get_by_label("Your name").fill("ada")
        page.get_by_label("Your name").press("Enter")
        page.get_by_role("button", name="Skip", disabled=False).wait_for()
        for number in range(1, MARKED + 1):
            page.get_by_test_id("stButtonGroup").last.get_by_role("button").nth(1).click()
            page.get_by_role("button", name="Save", disabled=False).click()
            page.get_by_text(f"{number} marked of {number} shown").wait_for()
            page.get_by_role("button", name="Next to mark").click()
            page.get_by_text(f"{number} marked of {number + 1} shown").wait_for()
        assert len(AnnotationSet(home, "field_guide", "marks").marks("ada")) == MARKED
        page.get_by_text(f"{MARKED} of 48 training rationales are marked in marks").wait_for()
        page.get_by_role("button", name="Train on this selection").click()
        page.get_by_role("button", name="Launch 1 run").click()
        deadline = time.monotonic() + 150
        while time.monotonic() < deadline:
            jobs = [
                job
                for job in Store.open(home).queue.jobs(kind="train")
                if "human(annotations=marks" in str(job.config["condition"])
            ]
            if jobs and jobs[0].state in ("finished", "failed"):
                break
            time.sleep(0.5)
        assert [job.state for job in jobs] == ["finished"]
        assert jobs[0].result["unselected_rows"] == jobs[0].result["train_rows"] - MARKED
        assert page.get_by_text("Traceback").count() == 0
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()
        stop_all(store)
