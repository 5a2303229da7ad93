"""Page Key tokens without a browser, on a tiny finished study with selections and marks."""

import html as html_module
import json
import re
import shutil

import pytest
from streamlit.testing.v1 import AppTest

from cotdistill.dashboard.keytokens import marking, marks, selections, sweep
from cotdistill.errors import BadRows, DataError
from cotdistill.execution.supervisor import stop_all
from cotdistill.execution.worker import work
from cotdistill.keytokens.annotations import AnnotationSet, Mark, text_hash
from cotdistill.keytokens.spans import word_spans
from cotdistill.planning.plan import launch, plan
from cotdistill.report import heat, wordmap
from cotdistill.report.figures import palette
from cotdistill.report.figures import sweep as sweep_figure
from cotdistill.results.results import ConditionSummary
from cotdistill.store.store import Store
from cotdistill.studies.spec import study_spec
from cotdistill.tasks.catalog import open_task
from tests.conftest import example
from tests.test_heat import GROUNDS, laid
from tests.test_pages import SMALL, drawn, sound, survived, texts
from tests.test_views import contrast

PAGE = "pages/5_Key_tokens.py"
CONDITIONS = "label_only,post_cot,post_cot/key_tokens(selector=tf_idf,k=2),post_cot/key_tokens(selector=random,k=2)"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("keytokens")
    store = Store.open(folder)
    launch(store, plan(store, study_spec(None, {**SMALL, "name": "keys", "conditions": CONDITIONS, "replicates": 1})))
    work(store)
    yield folder
    stop_all(store)


@pytest.fixture
def home(made, tmp_path):
    """A copy that a test may mark in."""
    return shutil.copytree(made, tmp_path / "home")


def page(home, monkeypatch, **query):
    return drawn(PAGE, home, monkeypatch, study="keys", **query)


def cards(app):
    """By title, the words of each card and those that are framed."""
    every = "".join(str(part.value) for part in app.get("html"))
    found = {}
    for name, body in re.findall(r'<section aria-label="([^"]*)"(.*?)</section>', every, re.DOTALL):
        framed = re.findall(r'box-shadow[^>]*title="[^"]*">([^<]*)</span>', body)
        found[html_module.unescape(name)] = (
            html_module.unescape(re.sub(r"<[^>]+>", "", body)),
            [html_module.unescape(word) for word in framed],
        )
    return found


def rationales(home):
    store = Store.open(home)
    return {
        e.id: e for e in open_task(store.tasks_root, "field_guide", settings=SMALL["task_settings"]).examples("train")
    }


def test_selections_stand_side_by_side_with_k_words_framed(made, monkeypatch):
    app = page(made, monkeypatch, k="2")
    shown = cards(app)
    assert list(shown) == ["Tf idf", "Random, replicate 0"]
    assert all(len(framed) == 2 for _, framed in shown.values())
    text = rationales(made)[app.query_params["example"]].rationale
    assert all(framed[0] in [text[a:b] for a, b in word_spans(text)] for _, framed in shown.values())
    assert "used by 1 run of this study" in shown["Tf idf"][0]
    app.slider(key="k").set_value(4).run()
    assert sound(app).query_params["k"] == "4" and len(cards(app)["Tf idf"][1]) == 4


def test_nonsense_in_every_parameter_is_no_error(made, monkeypatch):
    names = ("part", "selection", "source", "world", "example", "marking", "k", "set", "annotator", "trained", "search")
    for part in ("example", "mark", "task", "sweep", "<script>("):
        drawn(
            PAGE,
            made,
            monkeypatch,
            check=survived,
            study="keys",
            **{**{name: "<script>(" for name in names if name != "search"}, "part": part},
        )


def test_a_task_is_looked_at_without_a_study_and_taken_along_as_a_task(made, monkeypatch):
    app = page(made, monkeypatch, part="mark")
    app.selectbox(key="study").select("task field_guide").run()
    assert sound(app).query_params["study"] == "task field_guide"
    app.switch_page("pages/3_Compare.py").run()
    other = drawn(PAGE, made, monkeypatch, task="field_guide", part="mark")
    assert other.selectbox(key="study").value == "keys"


def test_an_empty_store_offers_the_study_and_can_be_marked_at_once(tmp_path, monkeypatch):
    app = drawn(PAGE, tmp_path / "empty", monkeypatch)
    assert app.button(key="keytokens").label == "Run the study keytokens"
    assert "cotdistill study run keytokens --wait" in texts(app)


def test_marking_is_blind_until_it_is_saved_and_then_held_against_the_selectors(home, monkeypatch):
    app = page(home, monkeypatch, part="mark")
    assert app.button(key="mark.save").disabled and app.button(key="mark.skip").disabled
    app.text_input(key="annotator").set_value("ada").run()
    assert cards(app) == {} and app.button(key="mark.save").disabled
    id = app.query_params["marking"]
    app.button_group[-1].set_value([0, 2]).run()
    app.button(key="mark.save").click().run()
    assert list(cards(sound(app))) == ["Marked by ada", "Tf idf", "Random, replicate 0"]
    assert "token F1" in cards(app)["Tf idf"][0] and "1 marked of 1 shown" in texts(app)
    text = rationales(home)[id].rationale
    spans = word_spans(text)
    [mark] = AnnotationSet(home, "field_guide", "marks").marks()
    assert (mark.example, mark.annotator, mark.spans, mark.text) == (id, "ada", (spans[0], spans[2]), text_hash(text))
    app.button(key="mark.on").click().run()
    second = sound(app).query_params["marking"]
    assert second != id and cards(app) == {}
    app.button(key="mark.skip").click().run()
    assert "1 marked of 3 shown, 1 skipped" in texts(sound(app))
    app.button(key="mark.undo").click().run()
    assert sound(app).query_params["marking"] == second and "1 marked of 2 shown" in texts(app)
    app.button(key="mark.undo").click().run()
    assert sound(app).query_params["marking"] == id and cards(app) == {}
    assert AnnotationSet(home, "field_guide", "marks").marks() == []


def test_two_annotators_agree_in_numbers_and_everybody_has_the_same_order(home, monkeypatch):
    rows = rationales(home)
    order = marking._order("d", "s", tuple(rows))
    assert order == marking._order("d", "s", tuple(rows)) != tuple(sorted(rows))
    annotations = AnnotationSet(home, "field_guide", "marks")
    for id in order[:2]:
        text = rows[id].rationale
        spans = word_spans(text)
        annotations.add(Mark(id, "ada", tuple(spans[:2]), text_hash(text)))
        annotations.add(Mark(id, "bob", tuple(spans[:2]), text_hash(text)))
    told = texts(page(home, monkeypatch, part="mark", annotator="eve")).replace("\\", "")
    assert "Krippendorff's alpha of 2 annotators: 1.00" in told and "comes closest to what people mark" in told


def test_agreement_counts_words():
    judged = {"ada": {"e1": {0, 1}, "e2": {0}}, "bob": {"e1": {1, 2}}, "eve": {"e2": {0}}}
    found = {(p.first, p.second): p for p in marks.pairs(judged, {"e1": 4, "e2": 3})}
    # ada and bob agree on words 1 and 3 of four, each marks two: 2 of 4 seen, half expected.
    assert found["ada", "bob"].kappa == pytest.approx(0.0) and found["ada", "bob"].f1 == 0.5
    assert found["ada", "eve"].kappa == 1.0 and ("bob", "eve") not in found


def test_files_are_read_whole_or_not_at_all():
    rows = {"e1": example("e1", "bird", "tree", "it has wings")}
    good = {"example": "e1", "annotator": "ada@lab.org", "spans": [[0, 2]]}
    [mark] = marks.imported(json.dumps(good).encode(), rows, "marks.jsonl")
    assert mark.annotator == "ada.lab.org" and mark.text == text_hash("it has wings")
    with pytest.raises(BadRows):
        marks.imported(
            (json.dumps(good) + '\n{"example": "e9", "annotator": "a", "spans": []}').encode(), rows, "marks.jsonl"
        )
    with pytest.raises(DataError, match="UTF-8"):
        marks.imported(b"\xff\xfe\x00", rows, "marks.jsonl")


def test_over_the_task_overlap_stands_beside_chance(made, monkeypatch):
    told = texts(page(made, monkeypatch, part="task")).replace("\\", "")
    assert "overlap most: Jaccard" in told and "by chance" in told and "right answer's own text" in told


def summary(condition, mean=0.5):
    return ConditionSummary(condition, "", 1, 1, mean, 0.4, 0.6, "", (mean,), 10, 10, 0.25, False, 1.0, 1.0)


def test_a_sweep_is_what_differs_in_selector_and_k_alone():
    base = "post_cot/key_tokens(selector={},k={},unit=word,order=text,rest=drop)"
    others = [
        "label_only", "post_cot", "pre_cot/key_tokens(selector=tf_idf,k=2.0,unit=word,order=text,rest=drop)",
        f"post_cot/strip_labels/{base.format('tf_idf', '2.0').partition('/')[2]}", f"{base.format('tf_idf', '2.0')}@tokens=post_cot",
        "post_cot/key_tokens(selector=tf_idf,k=2.0,unit=token,order=text,rest=drop)",
        "post_cot/drop_key_tokens(selector=tf_idf,k=2.0,unit=word,rest=drop)",
    ]  # fmt: skip
    found = sweep.swept(
        [
            summary(c)
            for c in [base.format("tf_idf", "5.0"), *others, base.format("random", "1.0"), base.format("tf_idf", "1.0")]
        ]
    )
    assert [(one.selector, one.k) for one in found] == [("tf_idf", 1.0), ("tf_idf", 5.0), ("random", 1.0)]
    assert [(line.name, line.control) for line in sweep.lines(found)] == [("tf idf", False), ("random", True)]
    assert sweep.title(found, []) == "With 5 words: tf idf 50.0 percent"


def test_names_that_crowd_share_their_middle_and_others_stay():
    assert sweep_figure.spread([1.0, 10.0, 10.0, 20.0], 2.0) == pytest.approx([1.0, 9.0, 11.0, 20.0])
    assert sweep_figure.spread([5.0, 5.5, 6.0], 2.0) == pytest.approx([3.5, 5.5, 7.5])


def test_the_sweep_is_drawn_between_its_lines(made, monkeypatch):
    app = page(made, monkeypatch, part="sweep")
    figure = json.loads(app.get("plotly_chart")[0].proto.spec)
    names = {a.get("text") for a in figure["layout"]["annotations"]}
    assert {"tf idf", "random", "whole rationale", "label only"} <= names
    assert "xaxis2" in figure["layout"]


def test_training_on_a_selection_fills_the_form_of_page_train(made, monkeypatch):
    app = page(made, monkeypatch)
    app.number_input(key="selected.k").set_value(3).run()
    told = texts(sound(app))
    assert "drop_key_tokens(selector=tf_idf,k=3.0" in told and "random_k(k=3.0" in told
    app.button(key="train.selection").click().run()
    app.switch_page("pages/2_Train.py").run()
    assert sound(app).text_input(key="compose.name").value == "field_guide-tf_idf"
    chosen = app.multiselect(key="compose.conditions").value
    assert chosen[:2] == ["label_only", "post_cot"] and len(chosen) == 6
    assert app.number_input(key="compose.training.steps").value == SMALL["training"]["steps"]
    assert "<s>post-CoT</s>" in texts(app) and "Launch 4 runs" in [button.label for button in app.button]


def test_marks_are_trained_on_with_their_number_said(home, monkeypatch):
    [(id, row), *_] = rationales(home).items()
    AnnotationSet(home, "field_guide", "lab").add(Mark(id, "ada", ((0, 2),), text_hash(row.rationale)))
    app = page(home, monkeypatch, part="mark", set="lab")
    told = texts(app).replace("\\", "")
    assert "human(annotations=lab" in told and f"1 of {len(rationales(home)):,} training rationales are marked" in told


def choosing():
    import streamlit as st

    from cotdistill.dashboard import frame

    start = st.text_input("start", value="a", key="start")
    st.button("late", key="late", on_click=frame._keep_as, args=("trained", "trained.a"))
    frame.choose("Key words by", ["a", "b", "c"], key="trained", start=start, moving=True)


def test_what_a_browser_still_says_of_an_earlier_start_is_no_choice():
    app = AppTest.from_function(choosing).run()
    assert app.selectbox[0].value == "a" and "trained" not in app.query_params
    app.text_input(key="start").set_value("b").run()
    app.session_state["trained.a"] = "a"
    app.button(key="late").click().run()
    assert app.selectbox[0].value == "b" and "trained" not in app.query_params
    app.selectbox[0].select("c").run()
    assert app.query_params["trained"] == "c" and app.selectbox[0].value == "c"


@pytest.mark.parametrize("ground", GROUNDS)
def test_text_reads_on_every_selectors_shade_and_its_mark_on_the_ground(ground):
    under, text = GROUNDS[ground]
    for hue in (*palette.SELECTOR_HUES, palette.QUIET_SELECTOR):
        assert contrast(laid(heat.Scale(1.0, more=hue).background(1.0), under), text) >= 4.5, hue
        assert contrast(hue, under) >= 3, hue


def test_markup_in_a_rationale_is_shown_and_never_run():
    evil = "<img src=x onerror=alert(1)> 'so' \u202eright"
    drawn_ = wordmap.cards(
        evil, [wordmap.WordRanking("<b>", "#8257B8", [1.0] * len(word_spans(evil)), {0}, {1}, "<i>")]
    )
    assert "<img" not in drawn_ and "<b>" not in drawn_ and "<i>" not in drawn_ and "\u202e" not in drawn_
    assert wordmap.question(example("e", "<script>", "tree", None)).count("<script>") == 0


def test_a_selector_has_one_name_and_one_colour():
    assert (
        selections.selector_name("input_x_gradient") == "input × gradient"
        and selections.selector_name("human:lab") == "people (lab)"
    )
    hues = [
        selections.selector_hue(name) for name in ("integrated_gradients", "influence", "tf_idf", "random", "human:lab")
    ]
    assert len(set(hues)) == 5
