"""Training-set size as an axis: a real small study over shares of the rows, its curve, its figures, its command and its place on page Train."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from cotdistill.dashboard.compare import training_size as size_figure
from cotdistill.dashboard.train import axes
from cotdistill.execution.worker import work
from cotdistill.planning.plan import Plan, launch, plan
from cotdistill.rationales.conditions import parse, parse_list
from cotdistill.results import results, token_dose, training_size
from cotdistill.store.store import Store
from cotdistill.studies.spec import study_spec
from tests.terminal import speaker

ROOT = Path(__file__).parent.parent
SMALL = {
    "name": "sized",
    "task": "field_guide",
    "task_settings": {"creatures": 24, "documents": 100, "wordings": 2},
    "conditions": "undistilled,label_only,post_cot,label_only@fraction=0.1,post_cot@fraction=0.1",
    "replicates": 2,
    "fixed_seeds": {"world": 0},
    "training": {"steps": 2, "batch_size": 4, "evaluations": 0, "checkpoints": "1"},
}


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, Plan]:
    store = Store.open(tmp_path_factory.mktemp("store"))
    planned = plan(store, study_spec(None, SMALL))
    launch(store, planned)
    assert work(store) == 10
    return store, planned


def test_a_plan_says_how_many_rows_each_share_is(ran: tuple[Store, Plan]) -> None:
    store, planned = ran
    assert planned.rows_at == {0.1: round(0.1 * planned.train_rows)}
    table = results.runs(store, "sized").query("replicate == 0").set_index("condition")
    assert table.loc["label_only", "train_rows"] == planned.train_rows
    assert (
        table.loc["label_only@fraction=0.1", "train_rows"]
        == table.loc["post_cot@fraction=0.1", "train_rows"]
        == planned.rows_at[0.1]
    )


def test_runs_on_all_rows_are_the_same_runs_with_and_without_smaller_ones_beside_them(ran: tuple[Store, Plan]) -> None:
    store, planned = ran
    alone = plan(store, study_spec(None, {**SMALL, "conditions": "undistilled,label_only,post_cot"}))
    assert alone.new == 0 and alone.rows_at == {}
    assert {run.job.identity for run in alone.runs} < {run.job.identity for run in planned.runs}
    assert all("fraction" not in json.dumps(run.job.config) for run in alone.runs)


def test_a_curve_joins_the_sizes_of_a_condition_and_the_undistilled_student_has_none(ran: tuple[Store, Plan]) -> None:
    store, planned = ran
    curves = training_size.size_curves(store, "sized")
    assert [(c.condition, [s.fraction for s in c.sizes]) for c in curves] == [
        ("label_only", [0.1, 1.0]),
        ("post_cot", [0.1, 1.0]),
    ]
    few, all_ = curves[0].sizes
    assert (few.rows, all_.rows) == (planned.rows_at[0.1], planned.train_rows)
    assert few.epochs == pytest.approx(2 * 4 / planned.rows_at[0.1]) and all_.epochs == pytest.approx(
        2 * 4 / planned.train_rows
    )
    table = results.runs(store, "sized")
    assert few.summary.mean == pytest.approx(table[table["condition"] == "label_only@fraction=0.1"]["accuracy"].mean())


def test_a_condition_is_compared_with_the_baseline_on_the_same_rows(ran: tuple[Store, Plan]) -> None:
    store, _ = ran
    found = {one.fraction: one for one in training_size.gaps(store, "sized", training_size.size_curves(store, "sized"))}
    table = results.runs(store, "sized").groupby("condition")["accuracy"].mean()
    assert found[0.1].difference == pytest.approx(table["post_cot@fraction=0.1"] - table["label_only@fraction=0.1"])
    assert found[1.0].difference == pytest.approx(table["post_cot"] - table["label_only"])
    assert {one.condition for one in found.values()} == {"post_cot"} and found[1.0].replicates == 2
    assert training_size.gaps(store, "sized", training_size.size_curves(store, "sized"), "pre_cot") == []


def test_the_whole_of_a_condition_takes_its_budget_along() -> None:
    both = parse("label_only@tokens=(post_cot@fraction=0.25),fraction=0.25")
    assert str(training_size.whole(both)) == "label_only@tokens=post_cot"
    assert str(training_size.whole(parse("label_only@tokens=post_cot,fraction=0.25"))) == "label_only@tokens=post_cot"
    assert (
        str(training_size.whole(parse("label_only@tokens=(post_cot@fraction=0.5)")))
        == "label_only@tokens=(post_cot@fraction=0.5)"
    )


def test_the_figures_show_every_size_with_its_interval_and_its_replicates(ran: tuple[Store, Plan]) -> None:
    store, planned = ran
    curves, summaries = training_size.size_curves(store, "sized"), results.summary(store, "sized")
    figure = size_figure.figure(curves, size_figure.levels(summaries), size_figure.title(curves))
    lines = [trace for trace in figure.data if trace.mode == "lines+markers"]
    assert [list(trace.x) for trace in lines] == [[planned.rows_at[0.1], planned.train_rows]] * 2
    assert list(lines[1].y) == pytest.approx([100 * (s.summary.mean or 0) for s in curves[1].sizes])
    assert {a.text for a in figure.layout.annotations} >= {"label only", "post-CoT", "undistilled", "chance"}
    found = training_size.gaps(store, "sized", curves)
    gap = size_figure.gap_figure(found, size_figure.gap_title(found))
    (line,) = [trace for trace in gap.data if trace.mode == "lines+markers"]
    assert list(line.y) == pytest.approx([100 * one.difference for one in found])


def test_shares_of_the_rows_have_no_place_among_the_doses(ran: tuple[Store, Plan]) -> None:
    store, _ = ran
    assert [one.summary.condition for one in token_dose.doses(store, "sized")] == ["label_only", "post_cot"]


def test_the_terminal_tells_the_curve_and_crosses_conditions(
    ran: tuple[Store, Plan], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (store, planned), say = ran, speaker(capsys)
    monkeypatch.setenv("COTDISTILL_HOME", str(store.home))
    told = say("study show sized --by size --json").document["by_size"]
    assert [(row["condition"], row["fraction"], row["rows"]) for row in told][1] == (
        "label_only",
        1.0,
        planned.train_rows,
    )
    assert told[0]["difference"] is None and told[2]["word"]
    axes_ = "--fractions 0.1,1 --sources mixed,deductive"
    document = say(f"study plan sized --conditions undistilled,label_only,post_cot {axes_} --json").document
    assert document["spec"]["conditions"] == [
        "undistilled", "label_only@fraction=0.1", "label_only", "post_cot@fraction=0.1", "post_cot",
        "post_cot@source=deductive,fraction=0.1", "post_cot@source=deductive",
    ]  # fmt: skip
    assert document["fractions"] == [{"fraction": 0.1, "rows": planned.rows_at[0.1]}]


def test_page_train_crosses_as_the_terminal_does() -> None:
    found = axes.cross(parse_list("label_only,post_cot"), "0.1, 1", ["a", "b"], "a")
    assert [str(c) for c in found] == [
        "label_only@fraction=0.1", "label_only", "post_cot@fraction=0.1", "post_cot", "post_cot@source=b,fraction=0.1", "post_cot@source=b",
    ]  # fmt: skip
    assert [str(c) for c in axes.cross(parse_list("label_only"), "", [], "")] == ["label_only"]


def test_the_form_of_page_train_crosses_what_is_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COTDISTILL_HOME", str(tmp_path))
    monkeypatch.chdir(ROOT)
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60).run()
    app = app.switch_page("pages/2_Train.py").run()
    app.selectbox(key="compose.start").set_value("a new study").run()
    app.text_input(key="axes.fractions").input("0.5, 1").run()
    app.button(key="axes.go").click().run()
    assert not app.exception
    assert app.multiselect(key="compose.conditions").value == [
        "label_only@fraction=0.5", "label_only", "pre_cot@fraction=0.5", "pre_cot", "post_cot@fraction=0.5", "post_cot",
    ]  # fmt: skip
    assert any("50 % of them" in caption.value for caption in app.caption)
    app.text_input(key="axes.fractions").input("2").run()
    assert any("above 0 and at most 1" in error.value.replace("\\", "") for error in app.error)
