"""The terminal's teacher: figures side by side, filters counted and made a source, one row from every source."""

import json

import pytest

from cotdistill.planning.plan import plan
from cotdistill.store.store import Store
from cotdistill.studies.spec import study_spec
from tests.terminal import check_keys, speaker


@pytest.fixture
def say(tmp_path, monkeypatch, capsys):
    """A store with a task of two sources: one writes well, one badly."""
    monkeypatch.setenv("COTDISTILL_HOME", str(tmp_path / "home"))
    choices = [{"label": "A", "text": "tree"}, {"label": "B", "text": "pond"}]
    rows = [
        {"id": f"q{i}", "question": f"where does fish number {i} live?", "choices": choices, "answer": "AB"[i % 2],
         "rationale": f"Creature {i} swims <b>there</b>. The answer is ({'AB'[i % 2]}).", "rationale_source": "good"}
        for i in range(60)
    ]  # fmt: skip
    texts = [
        "A or B",
        "I'm sorry, I can't help with that.",
        "The answer is (B).",
        "The answer is (A). So the answer is (B).",
    ]
    bad = [{"id": f"q{i}", "rationale": texts[i % 4]} for i in range(60)]
    (tmp_path / "in" / "rationales").mkdir(parents=True)
    (tmp_path / "in" / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "in" / "rationales" / "train.bad.jsonl").write_text("".join(json.dumps(row) + "\n" for row in bad))
    say = speaker(capsys)
    assert say(f"tasks import {tmp_path / 'in'} --name fish").code == 0
    return say


def test_quality_stands_side_by_side(say):
    said = say("teacher quality --task fish --json")
    check_keys("teacher quality", said.document)
    sources = said.document["sources"]
    assert (
        sources["good"]["agrees"] == 1.0
        and sources["good"]["label_alone"] == 0
        and sources["bad"]["label_alone"] == 0.75
    )
    assert (
        sources["bad"]["stated"]["several"] == 0.25
        and sources["bad"]["stated"]["refusal"] == 0.25
        and sources["bad"]["contradicts"] == 0.25
    )
    text = say("teacher quality --task fish --sources good --splits test").out
    assert "good" in text and "bad" not in text and "different words" in text
    assert say("teacher quality --task fish --sources god --json").error["kind"] == "unknown_name"
    assert "Did you mean test" in say("teacher quality --task fish --splits tset --json").error["hint"]


def test_filters_are_counted_with_examples_and_what_stays_is_a_source_for_a_study(say, tmp_path):
    counted = say("teacher filter --task fish --source bad --filters one_answer,consistent,gives_reason --json")
    check_keys("teacher filter", counted.document)
    assert [(f["seen"], f["dropped"], f["alone"]) for f in counted.document["filters"]] == [
        (60, 30, 30),
        (30, 15, 30),
        (15, 15, 45),
    ]
    assert counted.document["kept"] == 0 and counted.document["source"] is None
    assert {"id": "q1", "text": "I'm sorry, I can't help with that.", "reason": "a refusal"} in counted.document[
        "filters"
    ][0]["examples"]
    made = say("teacher filter --task fish --source good --filters agrees --part reason --name short --json").document
    assert made["kept"] == 60 and made["source"].startswith("short-")
    again = say("teacher filter --task fish --source good --filters agrees --part reason --name short")
    assert made["source"] in again.out and "Nothing is deleted" in again.out
    shown = say("teacher show --task fish --example q3 --json")
    check_keys("teacher show", shown.document)
    texts = {row["source"]: (row["text"], row["label"], row["how"]) for row in shown.document["rationales"]}
    assert texts[made["source"]] == ("Creature 3 swims <b>there</b>.", "B", "silent") and texts["bad"][1] is None
    # A study names it like any source.
    planned = plan(
        Store.open(tmp_path / "home"),
        study_spec(None, {"task": "fish", "conditions": f"label_only,post_cot@source={made['source']}"}),
    )
    assert planned.new == 6 and planned.runs[1].job.config["sources"] == ["good", made["source"]]


def test_words_that_fit_nothing_are_answered(say):
    assert say("teacher filter --task fish --filters lenght --json").error["kind"] == "unknown_name"
    assert (
        say("teacher filter --task fish --source bad --filters gives_reason,agrees --name x --json").error["kind"]
        == "no_rationale"
    )
    assert say("teacher filter --task fish --filters agrees --name a/b --json").error["kind"] == "usage"
    assert say("teacher show --task fish --example q99 --json").error["kind"] == "not_found"
    assert say("teacher filters --json").document[0]["id"] == "agrees"


def test_an_export_is_a_side_file(say, tmp_path):
    out = tmp_path / "out.jsonl"
    said = say(f"teacher export --task fish --source good --splits train --out {out} --json")
    check_keys("teacher export", said.document)
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert (
        len(rows) == said.document["rows"]
        and rows[0]["rationale_source"] == "good"
        and rows[0]["teacher_label"] in "AB"
    )
    assert say(f"teacher export --task fish --out {tmp_path}/no/where.jsonl --json").error["kind"] == "usage"
