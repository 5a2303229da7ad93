"""Conditions as files for other trainers: the tokens and the loss of the loop here, whole files only, and a card that says the rest."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cotdistill.config import RunConfig
from cotdistill.errors import UsageError
from cotdistill.exchange.condition_export import export_conditions
from cotdistill.planning.plan import Plan, plan
from cotdistill.store.store import Store
from cotdistill.students.batches import weighted
from cotdistill.students.sources import encoder_of
from cotdistill.studies.spec import study_spec
from cotdistill.tasks.catalog import open_task

SPEC = {
    "name": "ours",
    "task": "field_guide",
    "task_settings": {"creatures": 24, "documents": 20, "wordings": 1},
    "conditions": "label_only,post_cot,multitask",
    "replicates": 1,
    "training": {"steps": 2, "batch_size": 4, "evaluations": 0, "checkpoints": "1"},
}


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, Plan]:
    store = Store.open(tmp_path_factory.mktemp("export"))
    return store, plan(store, study_spec(None, SPEC))


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_trl_reads_the_tokens_that_are_read_here_and_bears_loss_on_the_same(planned, tmp_path: Path) -> None:
    store, ours = planned
    export_conditions(store, ours, "trl", tmp_path, splits=["train"])
    for run in (r for r in ours.runs if r.condition.spec.sequences):
        config = RunConfig.from_plain(run.job.config)
        task = open_task(store.tasks_root, config.task, world=config.seeds.world, settings=dict(config.task_settings))
        encoder = encoder_of(task, config)
        corpus = encoder.corpus(task.examples("train", config.source or None))
        expected = [
            row
            for index in range(len(corpus.examples))
            for row in weighted(
                encoder.sequences(corpus, index, run.condition, config.seeds.transform), config.training
            )
        ]
        written = rows_of(tmp_path / str(run.condition) / "train-0.jsonl")
        assert [row["input_ids"] for row in written] == [row.ids.tolist() for row in expected]
        for row, ours_row in zip(written, expected, strict=True):
            bears = [label != -100 for label in row["labels"]]
            assert bears == (ours_row.weights > 0).tolist()
            assert all(label in (-100, id) for label, id in zip(row["labels"], row["input_ids"], strict=True))
            assert sum(span["tokens"] for span in row["spans"]) == len(row["input_ids"])


def test_text_formats_say_prompt_and_completion_and_the_card_what_they_cannot(planned, tmp_path: Path) -> None:
    store, ours = planned
    for form in ("axolotl", "llamafactory", "openai", "trl-chat", "text"):
        export_conditions(store, ours, form, tmp_path / form, splits=["train"])
    first = {form: rows_of(tmp_path / form / "post_cot" / "train-0.jsonl")[0] for form in ("axolotl", "text", "openai")}
    segments = first["axolotl"]["segments"]
    assert [part["label"] for part in segments] == [False, True, False, True, True]
    assert "".join(part["text"] for part in segments[:-1]) == first["text"]["text"]
    assert segments[-1]["text"] == "<eos>"
    user, assistant = first["openai"]["messages"]
    assert user["content"] == segments[0]["text"] and user["content"].endswith("answer :")
    chat = rows_of(tmp_path / "trl-chat" / "post_cot" / "train-0.jsonl")[0]
    assert chat["prompt"] == [user] and chat["completion"] == [assistant]
    alpaca = rows_of(tmp_path / "llamafactory" / "post_cot" / "train-0.jsonl")[0]
    assert alpaca == {"instruction": user["content"], "input": "", "output": assistant["content"]}
    info = json.loads((tmp_path / "llamafactory" / "dataset_info.json").read_text())
    assert info["post_cot-train-0"]["file_name"] == "post_cot/train-0.jsonl"
    card = json.loads((tmp_path / "openai" / "post_cot" / "card.json").read_text())
    (file,) = card["files"]
    # The cue between label and rationale has two tokens that bear no loss here.
    assert file["unsaid_tokens"] == 2 * file["rows"] and file["rows_with_the_same_tokens"] == file["rows"]
    assert any("bear none" in sentence for sentence in card["cannot_say"])
    assert not any(
        "bear none" in s for s in json.loads((tmp_path / "axolotl/post_cot/card.json").read_text())["cannot_say"]
    )


def test_an_export_goes_on_where_it_was_and_never_mixes_with_another(planned, tmp_path: Path) -> None:
    store, ours = planned
    export_conditions(store, ours, "text", tmp_path, splits=["train", "dev"])
    file = tmp_path / "post_cot" / "dev-0.jsonl"
    content = file.read_bytes()
    file.write_bytes(content[:-50])
    again = {
        done.condition: done.written
        for done in export_conditions(store, ours, "text", tmp_path, splits=["train", "dev"])
    }
    assert again == {"label_only": 0, "post_cot": 1, "multitask": 0} and file.read_bytes() == content
    with pytest.raises(UsageError, match="an export of other data, settings or format"):
        export_conditions(store, ours, "openai", tmp_path, splits=["train"])
    (tmp_path / "other" / "post_cot").mkdir(parents=True)
    (tmp_path / "other" / "post_cot" / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="holds other files"):
        export_conditions(store, ours, "text", tmp_path / "other", splits=["train"])
