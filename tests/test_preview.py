"""Before an import: the map with how sure it is, what nothing reads, the first rows as read, and a next step that runs."""

import ast
import json
import re
import shlex
from pathlib import Path

import pytest

from cotdistill.dashboard.data.map_form import in_page_words
from cotdistill.errors import DataError
from cotdistill.tasks.importing import preview
from cotdistill.tasks.importing.preview import preview_source
from tests.terminal import check_keys, speaker


def put(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def row(i, **more):
    return {
        "context": f"Box {i} holds a ball.\nIt is red.",
        "question": f"what is in box {i} ?",
        "options": ["a ball", "a cat"],
        "label": "a ball" if i % 2 else "a cat",
        "solution": f"the box {i} was opened\nand a ball was in it",
        "story": f"a text that no field reads, number {i}",
        **more,
    }


def test_a_preview_shows_the_map_with_its_confidence_and_the_first_rows_as_read(tmp_path):
    rows = [row(i, reason="" if i < 12 else "so it is") for i in range(19)] + [row(19, label="a dog")]
    seen = preview_source(put(tmp_path / "all.jsonl", rows))
    fields = {guess.field: (guess.columns, guess.confidence, guess.why) for guess in seen.fields}
    assert fields == {
        "question": ("context+question", "high", "20 of 20 rows"),
        "choices": ("options", "high", "20 of 20 rows"),
        "answer": ("label", "low", "19 of 20 rows"),
        "rationale": (
            "solution",
            "low",
            "20 of 20 rows; solution may hold something else; it could also be reason",
        ),
    }
    assert seen.unread == ["story"] and seen.answers == "texts of the choices"
    assert seen.counts == {"all.jsonl": 20} and [(p.file, p.line) for p in seen.problems] == [("all.jsonl", 20)]
    first = seen.examples[0]
    assert (first.passage, first.question) == ("Box 0 holds a ball.\nIt is red.", "what is in box 0 ?")
    assert first.choices == (("A", "a ball"), ("B", "a cat")) and first.gold == ("B",)
    assert first.rationales == {"rationale": "the box 0 was opened\nand a ball was in it"}
    assert len(seen.examples) == len(seen.rows) == 3 and seen.error is None


def test_a_map_that_is_given_shows_in_the_preview_and_keeps_the_line_breaks_of_a_rationale(tmp_path):
    seen = preview_source(put(tmp_path / "all.jsonl", [row(i) for i in range(20)]), {"rationale": "solution:people"})
    assert [guess.confidence for guess in seen.fields if guess.field == "rationale"] == ["given"]
    assert seen.examples[1].rationales == {"people": "the box 1 was opened\nand a ball was in it"}
    shorter = [row(i, explanation="so" if i < 12 else "") for i in range(20)]
    guessed = preview_source(put(tmp_path / "all.jsonl", shorter)).fields[-1]
    assert (guessed.columns, guessed.confidence) == ("explanation", "medium")
    assert guessed.why == "12 of 20 rows; it could also be solution"


@pytest.mark.parametrize(("label", "message"), [(1, "The answers can be read in 3 ways"), ("x", "No row can be used")])
def test_what_cannot_be_imported_is_told_in_the_preview(tmp_path, label, message):
    rows = [row(i, options=["1", "2", "3"], label=label) for i in range(20)]
    seen = preview_source(put(tmp_path / "all.jsonl", rows))
    assert seen.error is not None and message in seen.error["message"] and not seen.examples


def test_a_column_that_is_missing_is_asked_for_and_a_folder_without_rows_refused(tmp_path):
    seen = preview_source(put(tmp_path / "all.jsonl", [{"text": "why", "label": "A"}] * 3))
    assert seen.error is not None and "No column is known for question, choices" in seen.error["message"]
    assert seen.rows[0] == {"text": "why", "label": "A"}
    with pytest.raises(DataError):
        preview_source(tmp_path / "nothing")


def next_step(out):
    (line,) = [line for line in out.splitlines() if line.startswith("Next: cotdistill ")]
    return line.removeprefix("Next: cotdistill ")


def test_the_next_steps_of_look_and_import_run(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COTDISTILL_HOME", str(tmp_path / "home"))
    say = speaker(capsys)
    folder = tmp_path / "some data"
    folder.mkdir()
    for part in (1, 2):
        put(folder / f"part_{part}.jsonl", [row(i + 100 * part) for i in range(40)])
    put(folder / "held.jsonl", [row(i, label="a dog" if i == 3 else "a ball") for i in range(20)])
    words = ["--splits", "train=part_1+part_2,dev=held", "--map", "passage=context", "rationale=solution:people"]
    said = say(f"tasks look {shlex.quote(str(folder))}", *words)
    assert said.code == 0 and "  * (B) a cat" in said.out and "    and a ball was in it" in said.out
    assert "bad row: held.jsonl line 4" in said.out
    check_keys("tasks look", say(f"tasks look {shlex.quote(str(folder))} --json", *words).document)
    following = next_step(said.out)
    assert following.endswith("--keep-good-rows") and say(following).code == 0
    imported = say(f"{following} --name boxes")
    assert imported.code == 0 and "boxes" in imported.out and "passage=context" in imported.out
    following = next_step(imported.out).removesuffix(" --wait")
    planned = say(following.replace("study run", "study plan"))
    assert planned.code == 0 and "post_cot" in following
    # Without rationales: what needs none.
    bare = put(tmp_path / "bare.jsonl", [{k: v for k, v in row(i).items() if k != "solution"} for i in range(40)])
    following = next_step(say(f"tasks import {bare} --name bare").out)
    assert "label_only --seeds" in following
    assert say(following.replace("study run", "study plan").removesuffix(" --wait")).code == 0


def test_no_message_of_an_import_names_an_option_of_the_terminal_on_the_page():
    texts = [
        node.value
        for path in sorted((Path(preview.__file__).parent).glob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and not node.value.lstrip().startswith('"""')
    ]
    told = [text for text in texts if re.search(r"(?<!-)--[a-z]", text)]
    assert len(told) > 10 and not [text for text in told if re.search(r"--[a-z]", in_page_words(text))]
    assert in_page_words("Say which one is meant: --map answer_is=text") == (
        "Say which one is meant: under “Which column is what” answer_is=text"
    )


def test_choices_said_to_stand_in_a_question_that_no_column_holds_are_not_looked_for(tmp_path):
    seen = preview_source(put(tmp_path / "all.jsonl", [{"id": 1, "answer": "A"}]), {"inline_choices": True})
    assert [guess.field for guess in seen.fields] == ["id", "answer"]
    assert seen.error and seen.error["message"].startswith("No column is known for question")
