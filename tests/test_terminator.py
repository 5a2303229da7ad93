"""The token that ends every answer: where it stands, what it changes, and that studies of before are the same."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cotdistill.config import RunConfig, plain
from cotdistill.planning.plan import plan
from cotdistill.rationales.conditions import parse
from cotdistill.store.store import Store
from cotdistill.students.scoring.evaluation import _parsed
from cotdistill.students.tokens import LABEL, NO_LOSS, RATIONALE, Encoder
from cotdistill.studies.spec import spec_from_mapping, study_spec
from cotdistill.tasks.importing.importer import import_task

RUN = RunConfig("t", "0" * 64, "label_only")


def ended(encoder: Encoder) -> Encoder:
    return Encoder(encoder.path, encoder.template, terminator=True)


@pytest.mark.parametrize("condition", ["label_only", "pre_cot", "post_cot", "multitask", "mixed"])
def test_the_end_token_follows_the_label_in_every_placement_and_bears_its_loss(encoder, examples, condition):
    without, within = (
        reader.sequences(reader.corpus(examples), 0, parse(condition), 0) for reader in (encoder, ended(encoder))
    )
    labelled = 0
    for before, after in zip(without, within, strict=True):
        ids, loss = after.ids.tolist(), after.loss.tolist()
        if LABEL not in loss:
            assert ids == before.ids.tolist()
            continue
        last = max(i for i, bears in enumerate(loss) if bears == LABEL)
        assert ids[last] == encoder.specials.eos and ids[:last] + ids[last + 1 :] == before.ids.tolist()
        assert after.segments[last] == after.segments[last - 1]
        labelled += 1
    assert labelled == (2 if condition == "mixed" else 1)


def test_post_cot_reads_label_end_cue_rationale_end(encoder, examples):
    reader = ended(encoder)
    (encoded,) = reader.sequences(reader.corpus(examples), 2, parse("post_cot"), 0)
    text = "".join(reader.pieces(encoded)).strip()
    assert text.endswith("answer : house <eos> because : the animal sleeps in a house . <eos>")
    # " house <eos>" in the label's loss, the cue in none, seven tokens and the end in the rationale's.
    assert encoded.loss.tolist()[-12:] == [LABEL, LABEL, NO_LOSS, NO_LOSS, *[RATIONALE] * 8]


def test_choices_of_which_one_begins_another_are_scored_to_their_end(encoder, examples):
    reader = ended(encoder)
    river, bank = ([t.id for t in reader.target(text)] for text in ("water", "water bird"))
    assert river[-1] == bank[-1] == reader.specials.eos and river[0] == bank[0] and river[1] != bank[1]
    # What was written: the shorter one is meant only where it ends there.
    assert _parsed(river, [river, bank]) == 0 and _parsed(bank, [river, bank]) == 1


def test_a_run_without_a_terminator_is_hashed_as_before_there_was_one():
    assert "terminator" not in RUN.job_config()
    assert RunConfig.from_plain({**RUN.job_config(), "terminator": True}).job_config()["terminator"] is True


def write(folder: Path, second: str) -> Path:
    folder.mkdir()
    for split in ("train", "dev", "test"):
        rows = [
            {"id": f"{split}{i}", "question": f"where is thing {i}?", "choices": ["river", second], "answer": "river"}
            for i in range(4)
        ]
        (folder / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder


def test_a_new_study_ends_its_answers_where_one_choice_begins_another_and_nowhere_else(tmp_path):
    store = Store.open(tmp_path / "store")
    for name, second in (("nested", "river bank"), ("apart", "stone bank")):
        import_task(store.tasks_root, write(tmp_path / name, second), name)
    values = {"conditions": "label_only", "replicates": 1, "training.steps": 2}
    nested = plan(store, study_spec(None, {"task": "nested", **values}))
    apart = plan(store, study_spec(None, {"task": "apart", **values}))
    assert nested.spec.terminator == "on" and nested.runs[0].job.config["terminator"] is True
    assert any("'river' and 'river bank'" in check for check in nested.checks)
    assert not any("One choice is the beginning" in check for check in nested.checks)
    assert apart.spec.terminator == "auto" and "terminator" not in apart.runs[0].job.config
    off = plan(store, study_spec(None, {"task": "nested", **values, "terminator": "off"}))
    assert "terminator" not in off.runs[0].job.config
    assert any("One choice is the beginning" in check for check in off.checks)
    assert off.plan_hash != nested.plan_hash


def test_a_stored_study_from_before_has_none_and_keeps_its_hash():
    spec = study_spec(None, {"task": "nested", "conditions": "label_only"})
    stored = {key: value for key, value in plain(spec).items() if key != "terminator"}
    assert spec_from_mapping(stored).terminator == "off"
    assert spec_from_mapping(stored).plan_hash == spec.plan_hash
    assert spec_from_mapping({"training": plain(spec.training)}, spec).terminator == "auto"
