"""Page Saliency without a browser, on a tiny finished study and with the real warm process."""

import html as html_module
import re

import pytest

from cotdistill.dashboard.widgets import example_finder, job_requests, target_picker
from cotdistill.errors import NotReadable
from cotdistill.execution.supervisor import stop_all
from cotdistill.execution.worker import work
from cotdistill.planning.plan import launch, plan
from cotdistill.rationales.conditions import parse
from cotdistill.report import explanation
from cotdistill.saliency.reading import read_example
from cotdistill.store.store import Store
from cotdistill.studies.inspection_jobs import checkpoints
from cotdistill.studies.spec import study_spec
from tests.conftest import example
from tests.test_pages import SMALL, drawn, sound, survived, texts

PAGE = "pages/4_Saliency.py"


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """One finished replicate of three placements; the warm process is ended with it."""
    folder = tmp_path_factory.mktemp("saliency")
    store = Store.open(folder)
    launch(
        store, plan(store, study_spec(None, {**SMALL, "conditions": "label_only,pre_cot,post_cot", "replicates": 1}))
    )
    work(store)
    yield folder
    stop_all(store)


def page(home, monkeypatch, **query):
    return drawn(PAGE, home, monkeypatch, check=survived, **query)


def cards(app):
    """The text of the heat maps, by student."""
    every = "".join(str(part.value) for part in app.get("html"))
    found = re.findall(r'<section aria-label="([^"]*)"(.*?)</section>', every, re.DOTALL)
    return {html_module.unescape(name): html_module.unescape(re.sub(r"<[^>]+>", " ", body)) for name, body in found}


def test_students_stand_side_by_side_with_their_predictions(home, monkeypatch):
    app = page(home, monkeypatch)
    shown = cards(app)
    assert list(shown) == ["pre-CoT, replicate 0", "post-CoT, replicate 0"]
    assert all("✓" in text and "completeness gap" in text for text in shown.values())
    assert "not readable" in shown["post-CoT, replicate 0"] and "not readable" not in shown["pre-CoT, replicate 0"]
    assert "cotdistill inspect attribute" in texts(app)


def test_a_link_restores_the_view(home, monkeypatch):
    app = page(home, monkeypatch)
    next(b for b in app.button if b.label == "Next").click().run()
    app.multiselect(key="method").set_value(["occlusion", "saliency"]).run()
    app.segmented_control(key="unit").set_value("word").run()
    there = dict(sound(app).query_params)
    again = page(home, monkeypatch, **there)
    assert cards(again) == cards(app)
    assert again.multiselect(key="method").value == ["occlusion", "saliency"]


def test_nonsense_in_every_parameter_is_no_error(home, monkeypatch):
    names = (
        "study",
        "student",
        "method",
        "split",
        "example",
        "target",
        "unit",
        "checkpoint",
        "answered",
        "search",
        "from",
        "moves",
        "part",
        "place",
    )
    app = page(home, monkeypatch, **{name: "<script>(" for name in names if name != "search"})
    assert "which is not here" in texts(app) and len(cards(app)) == 2
    for target in ("span:1-2", "words:9-2", "words:999-1000", "label:Z", "contrast:A-A", "contrast:", "rationale:3"):
        sound(page(home, monkeypatch, target=target))


def test_a_condition_alone_is_its_first_replicate(home, monkeypatch):
    assert list(cards(page(home, monkeypatch, student=["label_only", "pre_cot"]))) == [
        "label only, replicate 0",
        "pre-CoT, replicate 0",
    ]


def test_an_edit_is_shown_beside_the_original_and_can_be_taken_back(home, monkeypatch):
    app = page(home, monkeypatch)
    app.toggle(key="edit.open").set_value(True).run()
    app.text_area(key="edit.rationale").set_value("it is a <b>climber</b> .").run()
    shown = cards(sound(app))
    assert list(shown) == [
        f"{name}, replicate 0{edit}" for name in ("pre-CoT", "post-CoT") for edit in ("", ", edited")
    ]
    assert "nothing changes for post-CoT".replace("-", r"\-") in texts(app)
    assert "rationale" in app.query_params
    next(b for b in app.button if b.label == "Reset").click().run()
    assert len(cards(sound(app))) == 2 and "rationale" not in app.query_params


def test_an_empty_question_is_told_and_the_original_stays(home, monkeypatch):
    app = page(home, monkeypatch)
    app.toggle(key="edit.open").set_value(True).run()
    app.text_area(key="edit.question").set_value("  ").run()
    assert "The question is empty" in texts(sound(app)) and len(cards(app)) == 2


def test_a_pressed_word_becomes_the_target_and_a_second_one_ends_the_span(home, monkeypatch):
    app = page(home, monkeypatch, student="post_cot", target="words:0-0")
    app.pills(key="target.words").set_value([0, 3]).run()
    assert "words:0-3" in str(sound(app).query_params["target"])
    assert "what is explained" in "".join(str(part.value) for part in app.get("html"))
    app.pills(key="target.words").set_value([0, 1, 2, 3, 5]).run()
    assert "words:5-5" in str(sound(app).query_params["target"])


def test_each_rationale_token_is_explained_for_the_student_that_writes_it(home, monkeypatch):
    app = page(home, monkeypatch, student=["post_cot", "label_only"], target="rationale")
    assert "rests" in texts(app) and "holds no rationale" in texts(app).replace("\\", "")


def test_a_training_example_shows_what_its_rationale_teaches(home, monkeypatch):
    app = page(home, monkeypatch, split="train", student=["post_cot", "label_only"])
    assert "What the rationale teaches" in texts(app)
    assert "after 100 % of training" in "".join(cards(app).values())
    assert "cotdistill inspect influence" in texts(app)


def test_examples_are_filtered_by_what_the_students_answer(home, monkeypatch):
    counted = {}
    for wanted in ("any", "all_right", "all_wrong", "differ"):
        app = page(home, monkeypatch, answered=wanted)
        counted[wanted] = next((int(re.sub(r"\D", "", n.label)) for n in app.number_input if n.key == "place"), 0)
    assert counted["all_right"] + counted["all_wrong"] + counted["differ"] == counted["any"] > 0


def test_many_examples_are_one_button_and_stand_there_when_the_jobs_have_ended(home, monkeypatch):
    store = Store.open(home)
    monkeypatch.setattr(job_requests, "ensure_supervisor", lambda store: None)
    app = page(home, monkeypatch, student=["pre_cot", "post_cot"])
    button = app.button(key="gather.attribute.go")
    assert re.fullmatch(r"Attribute \d+ dev examples", button.label) and "--job" in texts(app)
    app.number_input(key="gather.attribute.n").set_value(6).run()
    monkeypatch.setattr("cotdistill.dashboard.widgets.queue.ensure_supervisor", lambda store: None)
    app.button(key="gather.attribute.go").click().run()
    assert len(store.queue.jobs(kind="attribute", state="queued")) == 2 and "waiting" in texts(sound(app))
    app = page(home, monkeypatch, part="faithfulness", student="pre_cot")
    app.number_input(key="gather.judge.n").set_value(6).run()
    app.button(key="gather.judge.go").click().run()
    app = page(home, monkeypatch, part="probe", student="pre_cot", what="group")
    app.number_input(key="gather.probe.n").set_value(20).run()
    app.button(key="gather.probe.go").click().run()
    app = page(home, monkeypatch, part="stability", student=["pre_cot", "post_cot"])
    app.number_input(key="gather.reword.n").set_value(6).run()
    app.button(key="gather.reword.go").click().run()
    app = page(home, monkeypatch, part="attention", student=["pre_cot", "post_cot"])
    app.number_input(key="gather.read.n").set_value(20).run()
    app.button(key="gather.read.go").click().run()
    work(store)
    app = page(home, monkeypatch, student=["pre_cot", "post_cot"])
    assert "6 dev examples in" in texts(app)
    for part in ("rationale", "place", "class", "words", "stability"):
        last = sound(page(home, monkeypatch, student=["pre_cot", "post_cot"], part=part))
    assert "The same answer in every wording" in texts(last)
    assert "comprehensiveness" in texts(page(home, monkeypatch, part="faithfulness", student="pre_cot"))
    assert "control task" in texts(page(home, monkeypatch, part="probe", student="pre_cot", what="group"))
    app = page(home, monkeypatch, part="attention", student=["pre_cot", "post_cot"], region="latent")
    assert "where a head looks" in texts(app) and len(app.get("plotly_chart")) >= 1
    assert "No latent type stands before their answer" in texts(app)
    assert "choose the dev or the test split" in texts(
        page(home, monkeypatch, part="probe", student="pre_cot", split="train")
    )


def test_a_student_whose_weights_are_gone_is_told_with_a_way_to_try_again(home, monkeypatch):
    store = Store.open(home)
    job = next(j for j in store.queue.jobs(kind="train") if j.config["condition"] == "label_only")
    # At a checkpoint that the warm process has not opened yet.
    first = checkpoints(job)[0]
    path = store.artifacts.path(job.produced[f"weights@{first}"])
    kept = path.read_bytes()
    try:
        path.unlink()
        app = page(home, monkeypatch, student="label_only", checkpoint=first)
        assert "no artefact" in texts(app)
        path.write_bytes(kept[: len(kept) // 2])
        next(b for b in app.button if b.label == "Try again").click().run()
        assert "Traceback" not in texts(survived(app)) and "Try again" in [b.label for b in app.button]
    finally:
        path.write_bytes(kept)
    next(b for b in app.button if b.label == "Try again").click().run()
    assert "✓" in cards(sound(app))["label only, replicate 0"]


def test_the_url_names_targets_that_the_example_has():
    one = example("e", "bird", "tree", "it flies .")
    assert target_picker.read_aim("contrast:B", one).describe(one) == "the right answer, “tree”, over “pond”"
    assert target_picker.read_aim("contrast:C-B", one).describe(one) == "“house” and against “pond”"
    assert target_picker.read_aim("label:D", one).describe(one) == "“kennel”"
    assert [
        target_picker.read_aim(text, one)
        for text in ("label:Z", "contrast:A", "contrast:B-B", "span:1-2", "words:3-2", "nonsense")
    ] == [None] * 6


def test_pills_of_a_word_that_comes_again_say_different_things(encoder, examples):
    reading = read_example(encoder, examples[0], parse("post_cot").spec)
    words = target_picker.rationale_words(reading)
    said = target_picker.names(words)
    assert len(set(said)) == len(said) and said[:2] == ["it", "has"] and "it₂" in said
    assert [w.first for w in words] == list(range(len(words)))


def test_a_span_is_found_again_in_the_columns_of_every_student(encoder, examples):
    aim = target_picker.Aim("words:2-3", 2, 3)
    columns = {}
    for name in ("pre_cot", "post_cot"):
        reading = read_example(encoder, examples[0], parse(name).spec)
        first, last = map(int, aim.of(reading).removeprefix("span:").split("-"))
        columns[name] = "".join(reading.pieces[first : last + 1])
    assert columns["pre_cot"] == columns["post_cot"] == " wings ."
    with pytest.raises(NotReadable, match="Here is no rationale"):
        aim.of(read_example(encoder, examples[0], parse("label_only").spec))


def test_filters_of_answers():
    assert [example_finder.kept(w, [True, False]) for w in example_finder.FILTERS] == [
        True,
        False,
        False,
        True,
        True,
        False,
    ]
    assert [example_finder.kept(w, [False, False]) for w in example_finder.FILTERS] == [
        True,
        False,
        True,
        False,
        False,
        True,
    ]


def test_the_matrix_of_a_rationale_adds_tokens_to_words_and_shares_out_each_row():
    nan = float("nan")
    pieces, segments, words = (
        [" q", " a", " un", "sure", " b"],
        ["question", "label_cue", "rationale", "rationale", "rationale"],
        [0, 1, 2, 2, 3],
    )

    def one(at, scores):
        return explanation.Explanation(pieces, segments, words, [0, 1, 2, 2, 2], scores, at, at, 0.0, (), (), 0, 0)

    given = [one(2, [1.0, nan, nan, nan, nan]), one(3, [2.0, nan, -2.0, nan, nan]), one(4, [1.0, nan, 2.0, 1.0, nan])]
    by_token, by_word = explanation.matrix(given), explanation.matrix(given, "word")
    assert list(by_token.columns) == [" q", " un", "sure"] and list(by_word.rows) == [" unsure", " b"]
    assert [v for v in by_word.values[0] if v == v] == [3.0, -2.0] and by_word.values[1] == [1.0, 3.0]
    assert by_token.shares["question"] == pytest.approx((1 + 0.5 + 0.25) / 3)
