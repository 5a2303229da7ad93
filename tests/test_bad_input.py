"""Generated nonsense over what people and files bring in: answered in words, never with a traceback, and the store stays whole.

COTDISTILL_EXAMPLES sets the number of inputs of each test (of half the tests half as many).
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import shlex

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cotdistill.cli import NOUNS, main
from cotdistill.config import from_mapping
from cotdistill.errors import CotdistillError
from cotdistill.rationales.conditions import parse
from cotdistill.studies import archive_file
from cotdistill.studies.answers_import import import_answers
from cotdistill.studies.budget import bytes_of
from cotdistill.studies.store import Store
from cotdistill.studies.study import StudySpec, checked, spec_from_mapping, study_spec
from cotdistill.tasks.importing import import_task
from cotdistill.tasks.template import Template

EXAMPLES = int(os.environ.get("COTDISTILL_EXAMPLES", "100"))
many = settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
few = settings(max_examples=max(1, EXAMPLES // 2), deadline=None, database=None, suppress_health_check=list(HealthCheck))

TEXT = st.text(max_size=60)
PIECES = st.lists(
    st.sampled_from(
        "pre_cot post_cot label_only / shuffle mask ( ) @ source= tokens= , = * 0.5 -1 nan é k= % { \0".split(" ")
    ),
    max_size=9,
).map("".join)  # fmt: skip
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
FIELDS = st.sampled_from([*StudySpec.__dataclass_fields__, "training.steps", "student.name", "nonsense"])
ROW = st.dictionaries(st.sampled_from(["id", "question", "choices", "answer", "rationale", "split", "x"]), PLAIN, max_size=7)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return Store.open(tmp_path_factory.mktemp("bad") / "store")


def in_words(act, *given, **named):
    """Whatever is asked ends well or with an error that is meant for a person."""
    try:
        return act(*given, **named)
    except CotdistillError as error:
        return None if error.message.strip() else pytest.fail(f"{type(error).__name__} says nothing")


def untouched(store):
    assert store.verify().problems == () and store.queue.jobs() == [] and store.queue.studies() == []


@many
@given(TEXT | PIECES)
def test_a_condition_is_read_or_refused_in_words(text):
    found = in_words(parse, text)
    # What is read has one name, and that name is read as the same.
    assert found is None or parse(str(found)) == found


@many
@given(st.dictionaries(FIELDS, PLAIN | PIECES, max_size=5))
def test_a_study_is_read_or_refused_in_words(values):
    in_words(lambda: checked(spec_from_mapping(values, StudySpec())))


@many
@given(
    st.dictionaries(
        st.sampled_from([*Template.__dataclass_fields__, "x"]), PLAIN | st.sampled_from(["{", "{question}", "{0}", "{a.b}", "{question!r:>9}"])
    )
)
def test_a_template_is_read_or_refused_in_words(values):
    in_words(lambda: from_mapping(Template, values).check())


@many
@given(TEXT)
def test_a_size_is_read_or_refused_in_words(text):
    found = in_words(bytes_of, text)
    assert found is None or found >= 0


@few
@given(st.lists(ROW, max_size=4), st.sampled_from(["jsonl", "json", "csv", "tsv"]), st.binary(max_size=30))
def test_files_of_nonsense_leave_no_half_task(tmp_path_factory, store, rows, ending, tail):
    folder = tmp_path_factory.mktemp("rows")
    content = "".join(json.dumps(row) + "\n" for row in rows).encode() + tail
    (folder / f"train.{ending}").write_bytes(content)
    in_words(import_task, store.tasks_root, folder, name="nonsense")
    assert not list(store.tasks_root.glob("*/.part-*"))
    untouched(store)


@few
@given(st.binary(max_size=80) | st.binary(max_size=60).map(lambda tail: b"PK\x03\x04" + tail))
def test_files_of_nonsense_are_no_archive_and_no_answers(tmp_path_factory, store, content):
    folder = tmp_path_factory.mktemp("files")
    (folder / "a.cotdistill").write_bytes(content)
    (folder / "a.jsonl").write_bytes(content)

    def opened():
        with archive_file.opened(folder / "a.cotdistill") as archive:
            archive.check()

    in_words(opened)
    in_words(import_answers, store, folder / "a.jsonl", "nonsense")
    untouched(store)


READERS = "conditions list,preview,runs show,runs list,study show,compare,store check,queue workers,tasks show,findings,verify".split(",")
HARMLESS = [command.words for noun in NOUNS.values() for command in noun.commands if command.words in READERS]


@few
@given(st.sampled_from(HARMLESS), st.lists(TEXT | PIECES | st.sampled_from(["--json", "--task", "--condition", "--limit", "-1", "--"]), max_size=4))
def test_words_of_nonsense_get_an_exit_code_and_no_traceback(store, words, more):
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()) as out:
        patch.setenv("COTDISTILL_HOME", str(store.home))
        said = []
        patch.setattr("cotdistill.cli.note", said.append)
        assert main([*shlex.split(words), *more]) in (0, 1, 2)
    assert not [line for line in (*said, out.getvalue()) if "should not happen" in line]


@few
@given(st.text(max_size=80))
def test_a_study_file_of_nonsense_is_refused_in_words(tmp_path_factory, text):
    path = tmp_path_factory.mktemp("yaml") / "study.yaml"
    path.write_text(text, encoding="utf-8", errors="replace")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, ValueError):
        values = None
    if isinstance(values, dict):
        in_words(study_spec, None, values)
