"""Page Train without a browser: what the form takes, what it refuses, and what its link keeps."""

import json
from types import SimpleNamespace

import pytest

from cotdistill.dashboard.widgets import composer_state, condition_field
from cotdistill.errors import CotdistillError
from cotdistill.store.store import Store
from cotdistill.studies.spec import STUDIES
from cotdistill.tasks.importing.importer import import_task
from tests.test_pages import drawn, sound, texts

PLAN = {
    "name": "mine", "conditions": ["label_only", "post_cot"], "replicates": 1, "baseline": "", "base_steps": 0,
    "task_settings": {"creatures": 24, "documents": 50, "wordings": 1}, "training.steps": 7,
}  # fmt: skip


@pytest.fixture(scope="module")
def long_row(tmp_path_factory):
    """A task of 12 rows, one of which has a rationale of 900 words."""
    home = tmp_path_factory.mktemp("long")
    rows = [
        {"question": f"question {i}", "choices": ["red", "blue"], "answer": "AB"[i % 2],
         "rationale": "so it is " * (300 if i == 3 else 3), "split": ("train", "dev", "test")[i // 12]}
        for i in range(36)
    ]  # fmt: skip
    (home / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    import_task(Store.open(home).tasks_root, home / "rows.jsonl", "long_row")
    return home


@pytest.mark.parametrize(
    ("text", "condition"),
    [
        ("shuffled", "post_cot/shuffle(unit=token,fraction=1.0)"),
        ("post-CoT, tokens shuffled", "post_cot/shuffle(unit=token,fraction=1.0)"),
        ("Tokens  shuffled", "post_cot/shuffle(unit=token,fraction=1.0)"),
        ("label only", "label_only"),
        ("pre-cot", "pre_cot"),
        ("sentence shuffled", "post_cot/shuffle(unit=sentence,fraction=1.0)"),
        ("post_cot@fraction=0.5", "post_cot@fraction=0.5"),
    ],
)
def test_names_labels_presets_and_the_grammar_all_stand_for_a_condition(text, condition):
    assert condition_field.resolved(text) == condition


def test_what_is_no_condition_is_answered_with_the_nearest_names():
    with pytest.raises(CotdistillError, match="There is no condition named 'shufled'") as error:
        condition_field.resolved("⚠ not a condition: shufled")
    assert error.value.hint.startswith("Did you mean shuffled")


def test_a_typo_is_marked_in_its_place_and_the_plan_of_the_others_stays_in_sight(tmp_path, monkeypatch):
    app = drawn("pages/2_Train.py", tmp_path, monkeypatch, start="starter", plan=json.dumps(PLAN))
    app.session_state["compose.conditions"] = ["label_only", "shufled", "post_cot", "tokens shuffled", "shuffled"]
    app.run()
    page = texts(sound(app, "There is no condition named 'shufled'"))
    assert app.multiselect(key="compose.conditions").value == [
        "label_only", "shufled", "post_cot", "post_cot/shuffle(unit=token,fraction=1.0)",
    ]  # fmt: skip
    assert "Did you mean shuffled" in page
    assert any(e.label.startswith("Every run of this plan: 3 runs") for e in app.expander)
    assert app.button(key="launch").disabled
    app.session_state["compose.conditions"] = ["label_only", "post_cot"]
    app.run()
    assert not sound(app).button(key="launch").disabled and app.button(key="launch").label == "Launch 2 runs"


def test_a_reload_brings_the_composed_plan_back_and_not_the_starter(tmp_path, monkeypatch):
    app = drawn("pages/2_Train.py", tmp_path, monkeypatch, start="starter", plan=json.dumps(PLAN))
    assert app.text_input(key="compose.name").value == "mine"
    app.number_input(key="compose.training.steps").set_value(9).run()
    app.multiselect(key="compose.conditions").set_value(["label_only", "pre_cot"]).run()
    link = {key: sound(app).query_params[key] for key in ("start", "plan")}
    again = drawn("pages/2_Train.py", tmp_path, monkeypatch, **link)
    assert again.button(key="launch").label == "Launch 2 runs"
    assert again.multiselect(key="compose.conditions").value == ["label_only", "pre_cot"]
    assert again.number_input(key="compose.training.steps").value == 9
    assert again.number_input(key="compose.dials.creatures").value == 24
    assert again.query_params["plan"] == link["plan"]


@pytest.mark.parametrize("plan", ["{", "[1]", '{"nonsense": 1}', '{"replicates": 0}', "[" * 5000, '{"student": 5}'])
def test_a_link_whose_plan_cannot_be_read_says_so_and_shows_its_start(plan, monkeypatch):
    warnings = []
    page = SimpleNamespace(
        query_params={"start": "starter", "plan": plan},
        session_state={},
        warning=lambda text, icon: warnings.append(text),
    )
    monkeypatch.setattr(composer_state, "st", page)
    composer_state.restore({"starter": STUDIES.get("starter").make()})
    assert warnings == ["The plan in this link cannot be read; the form shows where it starts from."]
    assert page.session_state == {"compose.start": "starter"} and page.query_params == {"start": "starter"}


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("compose.replicates", 0, "replicates is 0; expected"),
        ("compose.training.steps", 999_999_999_999, "steps is 999999999999; expected"),
    ],
)
def test_a_refused_number_says_why_and_turns_launch_off(field, value, sentence, tmp_path, monkeypatch):
    app = drawn("pages/2_Train.py", tmp_path, monkeypatch, start="starter", plan=json.dumps(PLAN))
    app.number_input(key=field).set_value(value).run()
    assert sentence in texts(sound(app, sentence.split()[0])).replace("\\", "")
    assert app.button(key="launch").disabled


def test_rows_that_would_end_every_run_are_left_out_shortened_or_the_plan_discarded_by_a_button(long_row, monkeypatch):
    plan = {"task": "long_row", "name": "long", "conditions": ["label_only", "post_cot"], "replicates": 1, "base_steps": 0,
            "fixed_seeds": {}, "title": ""}  # fmt: skip

    def doomed(app):
        return sound(app, "1 training row cannot be read whole")

    app = drawn("pages/2_Train.py", long_row, monkeypatch, start="starter", plan=json.dumps(plan), check=doomed)
    assert app.button(key="launch").disabled
    sound(app.button(key="mend.Leave 1 row out").click().run())
    assert app.multiselect(key="compose.left_out").value == ["rows.jsonl:4"]
    assert app.button(key="launch").label == "Launch 2 runs" and not app.button(key="launch").disabled
    assert json.loads(app.query_params["plan"])["left_out"] == ["rows.jsonl:4"] and "11 training rows" in texts(app)
    doomed(app.multiselect(key="compose.left_out").set_value([]).run())
    sound(app.button(key="mend.Shorten the rationale").click().run())
    assert app.selectbox(key="compose.student_settings.truncate").value == "rationale"
    assert not app.button(key="launch").disabled
    doomed(app.selectbox(key="compose.student_settings.truncate").set_value("refuse").run())
    sound(app.button(key="mend.discard").click().run())
    assert app.text_input(key="compose.name").value == "starter"
