"""The pages without a browser: each is drawn for real, with an empty store and with a finished study, and torch stays out."""

import subprocess
import sys
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from cotdistill.studies.planning import launch, plan
from cotdistill.studies.runner import work
from cotdistill.studies.store import Store
from cotdistill.studies.study import study_spec

ROOT = Path(__file__).parent.parent
PAGES = ("app.py", "pages/1_Data.py", "pages/2_Train.py", "pages/3_Compare.py")
SMALL = {
    "name": "small",
    "task_settings": {"creatures": 24, "documents": 50, "wordings": 1},
    "conditions": "label_only,post_cot,shuffled",
    "replicates": 2,
    "fixed_seeds": {"world": 0},
    "training": {"steps": 2, "batch_size": 4, "evaluations": 1, "dev_examples": 5},
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    home = tmp_path_factory.mktemp("finished")
    store = Store.open(home)
    launch(store, plan(store, study_spec(None, SMALL)))
    work(store)
    return home


def drawn(page, home, monkeypatch, **query):
    monkeypatch.setenv("COTDISTILL_HOME", str(home))
    monkeypatch.chdir(ROOT)
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60)
    for name, value in query.items():
        app.query_params[name] = value
    app.run()
    if page != "app.py":
        app.switch_page(page).run()
    assert not app.exception, app.exception
    return app


@pytest.mark.parametrize("page", PAGES)
def test_a_page_of_an_empty_store_is_drawn(page, tmp_path, monkeypatch):
    assert drawn(page, tmp_path / "empty", monkeypatch).main


@pytest.mark.parametrize("page", PAGES)
def test_a_page_of_a_finished_study_is_drawn(page, finished, monkeypatch):
    assert drawn(page, finished, monkeypatch).main


@pytest.mark.parametrize("page", PAGES)
def test_nonsense_in_the_address_is_no_error(page, finished, monkeypatch):
    query = {"study": "nonsense", "task": "<script>", "run": "99999", "baseline": "post_cot/(", "example": "-1", "conditions": "a,b"}
    assert drawn(page, finished, monkeypatch, **query).main


def test_the_page_process_never_imports_torch(finished):
    script = f"""
import os, sys, warnings
os.environ["COTDISTILL_HOME"] = {str(finished)!r}
from streamlit.testing.v1 import AppTest
for page in {PAGES!r}:
    app = AppTest.from_file("app.py", default_timeout=60).run()
    if page != "app.py":
        app.switch_page(page).run()
    assert not app.exception, app.exception
loaded = [name for name in ("torch", "transformers") if name in sys.modules]
assert not loaded, loaded
"""
    ran = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=200)
    assert ran.returncode == 0, ran.stderr[-2000:]
