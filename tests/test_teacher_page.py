"""Page Data, part Teachers, without a browser: every part is drawn for real, a teacher behind a real server is asked, filters make a source."""

import contextlib
import io
import json
import shutil

import pytest

from cotdistill.cli import main
from cotdistill.dashboard.data import teacher_cards, teacher_quality
from cotdistill.execution.supervisor import stop_all
from cotdistill.execution.worker import work
from cotdistill.planning import elicitation
from cotdistill.store.store import Store
from cotdistill.tasks.catalog import open_task
from cotdistill.tasks.example import Choice, Example
from cotdistill.tasks.importing.importer import import_task
from cotdistill.teachers.answers import TeacherAnswer
from cotdistill.teachers.asking import Pace
from cotdistill.teachers.elicitation import ElicitConfig, TeacherConfig
from tests.protocol_server import serving
from tests.test_pages import drawn, sound, survived, texts

PAGE = "pages/1_Data.py"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A task with two sources, of which a teacher was asked about 30 rows; one question got no answer."""
    folder = tmp_path_factory.mktemp("teacher")
    choices = [{"label": "A", "text": "even"}, {"label": "B", "text": "odd"}]
    rows = [
        {"id": f"q{i}", "question": f"number {i}?", "choices": choices, "answer": "AB"[i % 2], "rationale_source": "people",
         "rationale": f"It is {'odd' if i % 2 else 'even'} <b>."}
        for i in range(60)
    ]  # fmt: skip
    (folder / "in" / "rationales").mkdir(parents=True)
    (folder / "in" / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    side = [
        {"id": f"q{i}", "rationale": "The answer is (A). It is so." if i % 3 else "A or B", "teacher_label": "A"}
        for i in range(60)
    ]
    (folder / "in" / "rationales" / "train.other.jsonl").write_text("".join(json.dumps(row) + "\n" for row in side))
    home = folder / "home"
    store = Store.open(home)
    task = import_task(store.tasks_root, folder / "in", "numbers").task
    silent = task.examples("train")[0].question
    with serving() as server, pytest.MonkeyPatch.context() as patch:
        patch.setenv("COTDISTILL_TEACHER_URL", server.url)
        patch.setattr("cotdistill.execution.worker.IDLE_SECONDS", 0.0)
        server.plan = lambda question, before: ("json", {"choices": []}) if question == silent else None
        config = ElicitConfig("numbers", task.digest, "net", TeacherConfig(model="big"))
        elicitation.submit(store, config, Pace(concurrency=4, tries=1, pause=0.0, price_in=1000.0))
        work(store)
    assert store.queue.job(1).state == "finished", store.queue.job(1).error
    return home


@pytest.fixture
def home(made, tmp_path, monkeypatch):
    for name in ("COTDISTILL_TEACHER_URL", "OPENAI_BASE_URL", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    copy = shutil.copytree(made, tmp_path / "home")
    yield copy
    stop_all(Store.open(copy))


@pytest.fixture
def at_once(monkeypatch):
    """The commands that the page runs in processes of their own are run here: starting one takes longer than all that it does."""

    def run(store, words):
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            main([*words, "--json"])
        return json.loads(out.getvalue())

    monkeypatch.setattr("cotdistill.dashboard.data.filter_form.carried_out", run)
    monkeypatch.setattr("cotdistill.dashboard.data.teacher_quality.carried_out", run)


def page(home, monkeypatch, part, **query):
    return drawn(PAGE, home, monkeypatch, task="numbers", teacher=part, **query)


def press(app, label):
    next(button for button in app.button if button.label == label).click().run()
    return survived(app)


@pytest.mark.parametrize("part", ["sides", "ask", "filter", "nonsense"])
def test_every_part_is_drawn(home, monkeypatch, part):
    assert "Teachers" in [s.value for s in page(home, monkeypatch, part).subheader]


def test_the_part_in_view_lives_in_the_url_by_its_own_name(home, monkeypatch):
    app = page(home, monkeypatch, "sides")
    app.segmented_control(key="teacher").set_value("ask").run()
    assert sound(app).query_params["teacher"] in ("ask", ["ask"])


def test_every_source_tells_the_example_in_view(home, monkeypatch):
    told = texts(page(home, monkeypatch, "sides", example="q3"))
    for source in ("people", "other", "net"):
        assert source in told
    assert "It is" in told and "&lt;b&gt;" in told and "only implied" in told and "it names several answers" in told


def test_figures_are_counted_once_and_kept(home, monkeypatch, at_once):
    app = page(home, monkeypatch, "figures")
    told = texts(app)
    assert "noted labels that are gold" in told and not app.error
    kept = list((home / "teachers" / "figures").glob("*.json"))
    assert len(kept) == 3
    before = {path: path.stat().st_mtime_ns for path in kept}
    texts(page(home, monkeypatch, "figures"))
    assert {path: path.stat().st_mtime_ns for path in kept} == before


def test_two_sources_are_compared_by_the_students_they_make(home, monkeypatch, at_once):
    app = page(home, monkeypatch, "figures")
    app.selectbox(key="students.one").select("other").run()
    app.selectbox(key="students.other").select("people").run()
    press(app, "Set it up on page Train")
    app.switch_page("pages/2_Train.py").run()
    sound(app)
    expected = ["label_only", "pre_cot", "pre_cot@source=people", "post_cot", "post_cot@source=people"]
    assert (
        app.multiselect(key="compose.conditions").value == expected
        and app.selectbox(key="compose.source").value == "other"
    )
    task = open_task(Store.open(home).tasks_root, "numbers")
    assert teacher_quality.compared(task, "other", "people", 2).name == "numbers-other-or-people"


def test_filters_are_counted_and_what_stays_becomes_a_source(home, monkeypatch, at_once):
    app = page(home, monkeypatch, "filter")
    app.selectbox(key="filter.of").select("other").run()
    app.multiselect(key="filter.names").set_value(["one_answer", "length"]).run()
    app.number_input(key="filter.length.low").set_value(2).run()
    press(app, "Count what stays")
    told = texts(app)
    assert "length(low=2,high=80)" in told and "Taken away by one" in told.replace("\\", "") + str(
        [e.label for e in app.expander]
    )
    app.text_input(key="filter.name").set_value("clear").run()
    press(app, "Make what stays a source")
    (added,) = [s for s in open_task(Store.open(home).tasks_root, "numbers").added if s.startswith("clear-")]
    assert app.query_params["source"] in (added, [added]) and added in app.selectbox(key="source").options
    assert any(added in s.value.replace("\\", "") for s in app.success)


def test_answers_of_an_elicitation_can_be_filtered(home, monkeypatch):
    app = page(home, monkeypatch, "filter")
    app.selectbox(key="filter.of").select("job 1").run()
    press(app, "Count what stays")
    rows = Store.open(home).queue.job(1).result["answered"]
    assert f"{rows} of {rows} rationales stay" in texts(app).replace("\\", "")


def test_a_teacher_is_asked_by_the_form_and_the_job_is_told(home, monkeypatch):
    started = []
    monkeypatch.setattr("cotdistill.dashboard.data.elicit_form.ensure_supervisor", lambda store: started.append(store))
    monkeypatch.setattr("cotdistill.dashboard.data.elicitations.ensure_supervisor", lambda store: started.append(store))
    with serving() as server:
        monkeypatch.setenv("COTDISTILL_TEACHER_URL", server.url)
        app = page(home, monkeypatch, "ask")
        assert "Name a model" in texts(app) and "Ask the teacher" not in [b.label for b in app.button]
        app.text_input(key="elicit.model").set_value("bigger").run()
        app.number_input(key="elicit.rows").set_value(12).run()
        app.number_input(key="elicit.shots").set_value(2).run()
        app.text_area(key="elicit.template.ask_given").set_value(" Why ({label})?").run()
        told = texts(sound(app))
        assert "12, 0 of them answered already" in told and " Why (" in told and "no price is set" in told
        press(app, "Ask the teacher")
        assert server.asked.total() == 0 and started
        store = Store.open(home)
        job = store.queue.jobs(kind="elicit")[0]
        assert (job.state, job.config["teacher"]["model"], job.config["rows"], job.config["shown_shots"]) == (
            "queued",
            "bigger",
            12,
            2,
        )
        assert job.config["template"]["ask_given"] == " Why ({label})?" and job.config["name"] == "bigger"
        (line,) = [code.value for code in app.code if "teacher elicit" in code.value]
        assert "--shots 2" in line and "--model bigger" in line and server.url not in texts(app)
        monkeypatch.setattr("cotdistill.execution.worker.IDLE_SECONDS", 0.0)
        work(store)
        assert store.queue.job(job.id).result["answered"] == 12 and server.asked.total() == 12


def test_without_an_address_the_form_says_what_to_set(home, monkeypatch):
    app = page(home, monkeypatch, "ask")
    assert any("COTDISTILL_TEACHER_URL" in info.value.replace("\\", "") for info in app.info)
    app.text_input(key="elicit.model").set_value("big").run()
    press(app, "Ask the teacher")
    assert any("No teacher's address" in error.value.replace("\\", "") for error in app.error)


def test_a_preset_fills_the_parts_and_what_is_wrong_is_told(home, monkeypatch):
    app = page(home, monkeypatch, "ask")
    app.selectbox(key="elicit.preset").select("answer_first").run()
    assert app.text_area(key="elicit.template.ask").value.endswith("because")
    app.text_input(key="elicit.model").set_value("big").run()
    app.text_area(key="elicit.template.question").set_value("nothing to fill in").run()
    assert any("lacks {question}" in error.value.replace("\\", "") for error in survived(app).error)


def test_what_was_asked_is_told_with_its_failures_and_can_be_asked_again(home, monkeypatch):
    monkeypatch.setattr("cotdistill.dashboard.data.elicitations.ensure_supervisor", lambda store: None)
    app = page(home, monkeypatch, "ask")
    told = texts(app).replace("\\", "")
    answered = Store.open(home).queue.job(1).result["answered"]
    assert f"{answered} of {answered + 1} answered, 0 of them before this job" in told and "net-" in told
    assert "1 question without an answer: empty 1" in [e.label for e in app.expander]
    press(app, "Ask again")
    jobs = Store.open(home).queue.jobs(kind="elicit")
    assert len(jobs) == 2 and jobs[0].config["again"] == 1


def test_a_card_marks_the_choices_and_says_what_is_wrong():
    example = Example("q", "?", (Choice("A", "tree"), Choice("B", "<pond>")), "A", "train")
    right, wrong = (
        TeacherAnswer(example, "Trees stand. The answer is (A)."),
        TeacherAnswer(example, "A <pond> is wet. The answer is (B).", finish="length", given="B"),
    )
    drawn_cards = teacher_cards.cards([teacher_cards.Told("one", right), teacher_cards.Told("<two>", wrong, "below")])
    assert (
        "✓ A tree" in drawn_cards
        and "✗ B &lt;pond&gt;" in drawn_cards
        and "&lt;two&gt;" in drawn_cards
        and "<pond>" not in drawn_cards
    )
    assert 'title="choice A">Trees</span>' in drawn_cards
    assert teacher_cards.remarks(wrong) == ["8 words", "B stated by letter", "was shown B", "cut off by the limit"]
    assert teacher_cards.remarks(TeacherAnswer(example, "B", label="A")) == [
        "1 words",
        "B stated by letter",
        "noted with the answer A",
        "a label without a reason",
    ]
    assert "no answer known" in teacher_cards.verdict(TeacherAnswer(example, "So."))
