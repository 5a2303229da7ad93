"""The pages without a browser: each is drawn for real, with an empty store and with a finished study, and torch stays out."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from cotdistill.execution.supervisor import stop_all
from cotdistill.execution.worker import work
from cotdistill.planning.plan import launch, plan
from cotdistill.store.store import Store
from cotdistill.studies.annotations import remark
from cotdistill.studies.spec import study_spec
from cotdistill.tasks.catalog import imported_names, open_task
from cotdistill.tasks.importing.importer import import_task

ROOT = Path(__file__).parent.parent
PAGES = (
    "app.py",
    "pages/1_Data.py",
    "pages/2_Train.py",
    "pages/3_Compare.py",
    "pages/4_Saliency.py",
    "pages/5_Key_tokens.py",
    "pages/6_Findings.py",
    "pages/7_How_to_read_this.py",
)
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
    yield home
    # The page Saliency has started the process that looks into students.
    stop_all(store)


def drawn(page, home, monkeypatch, *, check=None, **query):
    monkeypatch.setenv("COTDISTILL_HOME", str(home))
    monkeypatch.chdir(ROOT)
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60)
    for name, value in query.items():
        app.query_params[name] = value
    app.run()
    if page != "app.py":
        app.switch_page(page).run()
    if check is not None:
        return check(app)
    return sound(app, *(("There is no run",) if page == "pages/2_Train.py" and query.get("run") == "99999" else ()))


def sound(app, *errors):
    """The page, if it was drawn and shows no error but those that the test asks for by a part of their text."""
    assert not app.exception, app.exception
    assert app.title or app.subheader or app.markdown, "the page was not drawn"
    shown = [error.value for error in app.error]
    assert not [text for text in shown if not any(part in text for part in errors)], shown
    assert not [part for part in errors if not any(part in text for text in shown)], f"missing among {shown}"
    return app


def survived(app):
    """The page, if nothing went wrong that nobody foresaw; for tests that ask for an error and read it themselves."""
    assert not app.exception, app.exception
    assert not [error.value for error in app.error if "went wrong" in error.value]
    return app


def texts(app):
    """Everything that is written on the page."""
    kinds = (
        app.title,
        app.subheader,
        app.markdown,
        app.caption,
        app.info,
        app.warning,
        app.error,
        app.success,
        app.text,
        app.code,
    )
    return "\n".join(str(part.value) for kind in kinds for part in kind) + "\n".join(
        str(part.value) for part in app.get("html")
    )


@pytest.fixture(scope="module")
def partial(tmp_path_factory):
    """A study of six runs of which two have finished, with the queue paused, so that the pages start no training."""
    home = tmp_path_factory.mktemp("partial")
    store = Store.open(home)
    launch(store, plan(store, study_spec(None, SMALL)))
    jobs = sorted(store.queue.jobs(), key=lambda job: job.id)
    for job in jobs[2:]:
        store.queue.pause(job.id)
    work(store)
    store.queue.stop(jobs[2].id)
    store.queue.set_paused(True)
    yield home
    stop_all(store)


@pytest.mark.parametrize("page", PAGES)
def test_a_page_of_an_empty_store_is_drawn(page, tmp_path, monkeypatch):
    assert drawn(page, tmp_path / "empty", monkeypatch).main


@pytest.mark.parametrize("page", PAGES)
def test_a_page_of_a_finished_study_is_drawn(page, finished, monkeypatch):
    assert drawn(page, finished, monkeypatch).main


@pytest.mark.parametrize("page", PAGES)
def test_nonsense_in_the_address_is_no_error(page, finished, monkeypatch):
    query = {
        "study": "nonsense",
        "task": "<script>",
        "run": "99999",
        "baseline": "post_cot/(",
        "example": "-1",
        "conditions": "a,b",
    }
    assert drawn(page, finished, monkeypatch, **query).main


@pytest.mark.parametrize("page", PAGES)
def test_a_page_of_a_study_half_way_is_drawn(page, partial, monkeypatch):
    assert drawn(page, partial, monkeypatch).main


@pytest.mark.parametrize(
    "view", ["accuracy", "curves", "tokens", "size", "examples", "modes", "studies", "runs", "nonsense"]
)
@pytest.mark.parametrize("which", ["finished", "partial"])
def test_every_view_of_compare_is_drawn(view, which, request, monkeypatch):
    app = drawn(
        "pages/3_Compare.py",
        request.getfixturevalue(which),
        monkeypatch,
        view=view,
        value="difference",
        show="lost",
        slice="group",
        rows="7",
    )
    assert app.main and not [w for w in app.warning if view != "nonsense"]


def test_the_examples_can_be_filtered_sliced_and_turned(finished, monkeypatch):
    app = drawn("pages/3_Compare.py", finished, monkeypatch, view="examples")
    (table,) = app.dataframe
    assert list(table.value.columns)[:4] == ["question", "answer", "label only", "post-CoT"] and len(table.value) == 25
    app = drawn("pages/3_Compare.py", finished, monkeypatch, view="examples", find="no such words")
    assert "No test question passes these filters." in texts(app) and not app.dataframe
    app = drawn(
        "pages/3_Compare.py", finished, monkeypatch, view="examples", slice="relation", kept="habitat", rows="999999"
    )
    assert "Accuracy by relation" in [e.label for e in app.expander] and app.dataframe


def test_a_note_is_kept_and_a_pinned_baseline_opens_the_study(finished, monkeypatch):
    app = drawn("pages/3_Compare.py", finished, monkeypatch, baseline="post_cot")
    [area] = [t for t in app.text_area if t.label == "Note"]
    area.set_value("<b>odd</b>")
    next(b for b in app.button if b.label == "Keep").click().run()
    next(b for b in sound(app).button if b.label == "Pin this baseline").click().run()
    assert remark(Store.open(finished), "small").note == "<b>odd</b>"
    again = drawn("pages/3_Compare.py", finished, monkeypatch)
    assert next(s for s in again.selectbox if s.label == "Baseline").value == "post_cot"
    next(b for b in again.button if b.label == "Unpin this baseline").click().run()
    assert remark(Store.open(finished), "small").baseline == ""


def test_half_a_study_is_called_provisional_and_what_is_missing_is_named(partial, monkeypatch):
    told = texts(drawn("pages/3_Compare.py", partial, monkeypatch))
    assert "Provisional" in told and "4 planned runs still missing" in told


def test_an_empty_store_links_to_the_button_and_home_has_it(tmp_path, monkeypatch):
    app = drawn("app.py", tmp_path / "empty", monkeypatch)
    assert [button.label for button in app.button if button.key == "starter"] == ["Run the starter study"]
    links = drawn("pages/3_Compare.py", tmp_path / "empty", monkeypatch).get("page_link")
    assert "Home: run the starter study" in [link.label for link in links]


def test_a_name_in_the_link_that_is_not_here_is_said_to_be_so(finished, monkeypatch):
    app = drawn("pages/3_Compare.py", finished, monkeypatch)
    app.query_params["study"] = "<b>nonsense"
    app.query_params["baseline"] = "post_cot/("
    assert len([w for w in sound(app.run()).warning if "which is not here" in w.value]) == 2


def test_the_baseline_lives_in_the_url_by_its_grammar(finished, monkeypatch):
    app = drawn("pages/3_Compare.py", finished, monkeypatch)
    app.selectbox(key="baseline").select("post_cot").run()
    assert sound(app).query_params["baseline"] == "post_cot"
    assert "against post-CoT" in app.dataframe[0].value.columns


def test_examples_are_stepped_through_and_found_again_by_their_id(finished, monkeypatch):
    app = drawn("pages/1_Data.py", finished, monkeypatch)
    first = app.query_params["example"]
    next(button for button in app.button if button.label == "Next").click().run()
    second = sound(app).query_params["example"]
    assert first != second
    assert f"id {second}".replace("-", r"\-") in texts(app)
    assert "Every answer is one token" in texts(app)
    app.selectbox(key="tokens.word").select("bpe").run()
    assert any("@target=naive" in str(part.value) for part in sound(app).get("html"))


def test_a_typed_condition_is_shown_and_a_wrong_one_is_explained(finished, monkeypatch):
    app = drawn("pages/1_Data.py", finished, monkeypatch)
    app.session_state["shown"] = ["post_cot/mask(fraction=0.3)", "post_cot/shufle"]
    app.run()
    told = texts(sound(app, "no transform named"))
    assert "post-CoT, 30% masked" in told and "Did you mean shuffle" in told.replace("\\", "")


def test_markup_in_a_task_is_shown_and_never_run(tmp_path, monkeypatch):
    evil = "<img src=x onerror=alert(1)> **bold** :red[x]"
    choices = [{"label": "A", "text": "<b>a</b>"}, {"label": "B", "text": "b"}]
    rows = [
        {
            "id": f"<i>{i}",
            "question": f"{evil} {i}?",
            "choices": choices,
            "answer": "AB"[i % 2],
            "rationale": f"so {evil}",
            "metadata": {"<u>": evil},
        }
        for i in range(40)
    ]
    source = tmp_path / "evil.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    home = tmp_path / "home"
    import_task(Store.open(home).tasks_root, source, "evil")
    app = drawn("pages/1_Data.py", home, monkeypatch, task="evil")
    html = "".join(str(part.value) for part in app.get("html"))
    assert "<img src=x" not in html and "<i>" not in html and "&lt;" in html
    captions = " ".join(caption.value for caption in app.caption)
    assert "<u>" not in captions and ":red[" not in captions


def box(i):
    reason = "since it was seen" if i < 3 else None
    more = {"context": f"Box {i} is red.", "story": f"a long story of box number {i}", "reason": reason}
    answer = "right" if i % 2 else "wrong"
    return {"id": f"b{i}", "question": f"what is in box {i} ?", "choices": ["yes", "no"], "answer": answer, **more}


def test_a_file_is_imported_from_the_page_and_its_bad_row_is_listed(tmp_path, monkeypatch):
    rows = [
        {
            "id": str(i),
            "question": f"what is {i} ?",
            "choices": [{"label": "A", "text": "odd"}, {"label": "B", "text": "even"}],
            "answer": "BA"[i % 2],
        }
        for i in range(60)
    ]
    source = tmp_path / "parity.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in [*rows, {**rows[0], "id": "bad", "answer": "C"}]))
    home = tmp_path / "home"
    app = drawn("pages/1_Data.py", home, monkeypatch)
    other = tmp_path / "boxes.jsonl"
    other.write_text("".join(json.dumps(box(i)) + "\n" for i in range(40)))
    app.text_input(key="import.path").set_value(str(other)).run()
    assert app.text_input(key="import.task").value == "boxes"
    assert any("No row can be used" in error.value for error in app.error)
    assert any("no field reads" in warning.value and "story" in warning.value for warning in app.warning)
    fields = {
        part.key.rpartition(".")[2]: part for part in (*app.multiselect, *app.text_input, *app.toggle) if part.key
    }
    fields["question"].set_value(["story", "question"])
    fields["passage"].set_value(["context"])
    fields["values"].set_value("wrong=no,right=yes")
    app.toggle(key="import.shuffle").set_value(True).run()
    shown = "".join(str(part.value) for part in sound(app).get("html"))
    assert "what is in box 1 ?" in shown and "as you say" in shown and "3 of 40 rows" in shown
    app.button(key="import.go").click().run()
    assert "Imported boxes" in texts(sound(app))
    boxes = open_task(Store.open(home).tasks_root, "boxes")
    assert boxes.info["shuffle_choices"] == 0 and boxes.info["columns"]["values"] == "wrong=no,right=yes"
    assert boxes.template.question_text(boxes.example("b1")) == (
        "Passage: Box 1 is red.\nQuestion: a long story of box number 1\nwhat is in box 1 ?"
    )
    app.text_input(key="import.path").set_value(str(source)).run()
    assert app.text_input(key="import.task").value == "parity"
    app.button(key="import.go").click().run()
    assert "--" not in " ".join(error.value for error in app.error)
    assert "line 61" in texts(sound(app, "1 row cannot be read")).replace("\\", "") and imported_names(
        Store.open(home).tasks_root
    ) == ["boxes"]
    app.toggle(key="import.keep").set_value(True).run()
    app.button(key="import.go").click().run()
    assert "Imported parity" in texts(sound(app))
    assert imported_names(Store.open(home).tasks_root) == ["boxes", "parity"]
    assert any("--keep-good-rows" in code.value for code in app.code)
    assert app.selectbox(key="task").value == app.query_params["task"] == "parity"
    app.selectbox(key="task").select("field_guide").run()
    app.selectbox(key="source").select("deductive").run()
    app.selectbox(key="task").select("parity").run()
    assert sound(app).query_params["task"] == "parity" and "which is not here" not in texts(app)
    app.text_input(key="rename.parity").set_value("odd_or_even").run()
    app.button(key="rename.go").click().run()
    assert sound(app).query_params["task"] == app.selectbox(key="task").value == "odd_or_even"
    app.toggle(key="delete.odd_or_even").set_value(True).run()
    app.button(key="delete.go").click().run()
    assert "task" not in sound(app).query_params and imported_names(Store.open(home).tasks_root) == ["boxes"]


def test_dropped_files_of_all_splits_with_labels_apart_are_imported_as_the_clicks_say(tmp_path, monkeypatch):
    """Which file is which split stays as chosen, and the labels beside a file are read with it."""

    def rows(first, count):
        return "".join(
            json.dumps({"id": f"r{i}", "question": f"is {i} odd ?", "choices": ["no", "yes"]}) + "\n"
            for i in range(first, first + count)
        ).encode()

    home = tmp_path / "home"
    app = drawn("pages/1_Data.py", home, monkeypatch)
    files = {
        "monday.jsonl": rows(0, 20),
        "monday-labels.lst": b"0\n1\n" * 10,
        "tuesday.jsonl": rows(20, 20),
        "tuesday-labels.lst": b"0\n1\n" * 10,
        "wednesday.jsonl": rows(40, 6),
        "wednesday-labels.lst": b"0\n1\n" * 3,
    }
    app.file_uploader(key="import.file").set_value([(name, data, "text/plain") for name, data in files.items()]).run()

    def split(name):
        return next(one for one in app.multiselect if one.key and one.key.endswith(f".{name}"))

    split("train").set_value(["monday.jsonl", "tuesday.jsonl"]).run()
    split("test").set_value(["wednesday.jsonl"]).run()
    assert split("train").value == ["monday.jsonl", "tuesday.jsonl"], "a click elsewhere takes nothing back"
    app.text_input(key="import.task").set_value("odd").run()
    app.button(key="import.go").click().run()
    assert "Imported odd" in texts(sound(app))
    task = open_task(Store.open(home).tasks_root, "odd")
    train = [example.id for part in ("train", "dev") for example in task.examples(part)]
    assert task.info["help"] == "imported from dropped files"
    assert sorted(train) == sorted(f"r{i}" for i in range(40))
    assert [(e.id, e.answer_text) for e in task.examples("test")] == [
        (f"r{i}", ["no", "yes"][i % 2]) for i in range(40, 46)
    ]


def test_another_start_refills_the_form(finished, monkeypatch):
    app = drawn("pages/2_Train.py", finished, monkeypatch)
    assert app.text_input(key="compose.name").value == "starter"
    app.text_input(key="compose.name").set_value("mine").run()
    app.selectbox(key="compose.start").select("a new study").run()
    assert sound(app).text_input(key="compose.name").value == "my-study"
    assert app.multiselect(key="compose.conditions").value == ["label_only", "pre_cot", "post_cot"]


def test_a_plan_strikes_out_what_is_done_and_launches_the_rest(finished, monkeypatch):
    app = drawn("pages/2_Train.py", finished, monkeypatch)
    app.selectbox(key="compose.start").select("small").run()
    assert "Everything is done" in [button.label for button in sound(app).button]
    assert "<s>label only</s>" in texts(app)
    assert "cotdistill study run --task field_guide" in texts(app)


def test_a_launch_shows_at_once_in_the_plan(partial, tmp_path, monkeypatch):
    home = shutil.copytree(partial, tmp_path / "home")
    for name in ("plans", "queue"):
        monkeypatch.setattr(f"cotdistill.dashboard.widgets.{name}.ensure_supervisor", lambda store: None)
    app = drawn("pages/2_Train.py", home, monkeypatch)
    app.selectbox(key="compose.start").select("small").run()
    button = sound(app).button(key="launch")
    assert button.label == "Launch 1 run"
    button.click().run()
    assert sound(app).button(key="launch").label == "Everything is queued" and app.button(key="launch").disabled
    assert "Launched" in app.toast[0].value


def test_a_wrong_setting_is_told_with_what_to_do_and_nothing_can_be_launched(finished, monkeypatch):
    app = drawn("pages/2_Train.py", finished, monkeypatch)
    app.session_state["compose.conditions"] = ["label_only", "post_cot/shuffle(unit=char)"]
    app.run()
    assert "expected one of token" in texts(sound(app, "expected one of token")).replace("\\", "")
    assert app.button(key="launch").disabled


def test_a_run_is_opened_by_its_number_and_can_be_resumed(partial, monkeypatch):
    store = Store.open(partial)
    [stopped] = store.queue.jobs(state="stopped")
    app = drawn("pages/2_Train.py", partial, monkeypatch)
    app.query_params["run"] = str(stopped.id)
    app.run()
    assert app.selectbox(key="run").value == str(stopped.id)
    sound(app).button(key=f"act.resume.{stopped.id}").click().run()
    assert store.queue.job(stopped.id).state == "queued"
    assert f"runs resume {stopped.id}" in app.toast[0].value
    app.button(key=f"act.stop.{stopped.id}").click().run()
    assert store.queue.job(stopped.id).state == "stopped"


def test_a_failure_is_told_with_its_cause(partial, monkeypatch):
    app = drawn("pages/2_Train.py", partial, monkeypatch)
    app.query_params["run"] = "99999"
    app.run()
    assert "There is no run" in texts(sound(app, "There is no run"))


def test_the_page_process_never_imports_torch(finished):
    script = f"""
import os, sys, warnings
os.environ["COTDISTILL_HOME"] = {str(finished)!r}
from streamlit.testing.v1 import AppTest
for page in {PAGES!r}:
    app = AppTest.from_file("app.py", default_timeout=60).run()
    if page != "app.py":
        app.switch_page(page).run()
    assert not app.exception and not [e for e in app.error if "went wrong" in e.value], app.exception
loaded = [name for name in ("torch", "transformers") if name in sys.modules]
assert not loaded, loaded
"""
    ran = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=200)
    assert ran.returncode == 0, ran.stderr[-2000:]


def test_a_student_of_the_catalogue_brings_its_settings_into_the_form_and_takes_them_away_again(
    finished, monkeypatch, tmp_path
):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    app = drawn("pages/2_Train.py", finished, monkeypatch)
    before = app.number_input(key="compose.training.lr").value
    sound(app.selectbox(key="compose.student").set_value("gpt2").run())
    assert app.number_input(key="compose.training.lr").value == 5e-5
    assert app.number_input(key="compose.training.steps").value == 900
    assert "They are ours" in texts(app) and "hf download openai-community/gpt2" in texts(app).replace("\\", "")
    sound(app.selectbox(key="compose.student").set_value("nano").run())
    assert app.number_input(key="compose.training.lr").value == before


def test_adapters_that_cannot_be_trained_are_told_on_the_page_before_anything_is_launched(finished, monkeypatch):
    app = drawn("pages/2_Train.py", finished, monkeypatch)
    sound(app.number_input(key="compose.student_settings.lora_rank").set_value(4).run(), "LoRA adapts")
    assert "from scratch" in texts(app)
    assert app.button(key="launch").disabled
