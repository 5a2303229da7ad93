"""Generated nonsense over what people and files bring in: answered in words, never with a traceback, and the store stays whole.

COTDISTILL_EXAMPLES sets the number of inputs of a test (half as many where files are written, a tenth where a page is drawn), new ones each time.
Without it the inputs are few and always the same, so that what passed once does not fail by chance later.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import shlex
import zipfile

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cotdistill.cli import NOUNS, main
from cotdistill.config import digest, from_mapping
from cotdistill.errors import CotdistillError
from cotdistill.exchange import reader
from cotdistill.exchange.export import export_study
from cotdistill.exchange.import_archive import import_study
from cotdistill.exchange.import_predictions import import_answers
from cotdistill.exchange.verify import verify
from cotdistill.execution.worker import work
from cotdistill.keytokens.annotations import read_marks
from cotdistill.planning.plan import launch, plan
from cotdistill.rationales.conditions import parse
from cotdistill.store.budget import bytes_of
from cotdistill.store.store import Store
from cotdistill.studies.spec import StudySpec, checked, spec_from_mapping, study_spec
from cotdistill.tasks.catalog import open_task
from cotdistill.tasks.importing.importer import import_task
from cotdistill.tasks.template import Template
from tests.test_pages import PAGES, drawn

EXAMPLES = int(os.environ.get("COTDISTILL_EXAMPLES", "80"))
many = settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
few = settings(many, max_examples=max(1, EXAMPLES // 2))
rare = settings(many, max_examples=max(1, EXAMPLES // 10))

SETTINGS = {"creatures": 24, "documents": 10, "wordings": 1}
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
ROW = st.dictionaries(
    st.sampled_from(["id", "question", "choices", "answer", "rationale", "split", "x"]), PLAIN, max_size=7
)
MARK = st.dictionaries(
    st.sampled_from(["example", "annotator", "spans", "text", "skipped", "when", "x"]), PLAIN, max_size=6
)
KEYS = "study task view baseline run example split part student method target unit k rows this curve judged present margin by of".split()


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
    assert verify(store).problems == () and store.queue.jobs() == [] and store.queue.studies() == []


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
        st.sampled_from([*Template.__dataclass_fields__, "x"]),
        PLAIN | st.sampled_from(["{", "{question}", "{0}", "{a.b}", "{question!r:>9}"]),
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
        with reader.opened(folder / "a.cotdistill") as archive:
            archive.check()

    in_words(opened)
    in_words(import_answers, store, folder / "a.jsonl", "nonsense")
    untouched(store)


READERS = "conditions list,preview,runs show,runs list,study show,compare,store verify,queue workers,tasks show".split(
    ","
)
HARMLESS = [command.words for noun in NOUNS.values() for command in noun if command.words in READERS]


@few
@given(
    st.sampled_from(HARMLESS),
    st.lists(TEXT | PIECES | st.sampled_from(["--json", "--task", "--condition", "--limit", "-1", "--"]), max_size=4),
)
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


def untouched_but(store, before):
    """Nothing of what was refused is left: the same jobs, studies and artefacts as before, all of them whole."""
    assert (verify(store).problems, census(store)) == ((), before)


def census(store):
    return len(store.queue.jobs()), len(store.queue.studies()), sorted(path.name for path in store.artifacts.all())


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A store with one finished study."""
    made = Store.open(tmp_path_factory.mktemp("trained") / "store")
    values = {
        "name": "small", "task_settings": SETTINGS, "conditions": "label_only,post_cot", "replicates": 1,
        "base_steps": 0, "training": {"steps": 2, "batch_size": 4, "evaluations": 1, "dev_examples": 4, "checkpoints": "1"},
    }  # fmt: skip
    launch(made, plan(made, study_spec(None, values)))
    work(made)
    return made


@pytest.fixture(scope="module")
def members(trained, tmp_path_factory):
    """What lies in the archive of that study, by name."""
    path = tmp_path_factory.mktemp("archive") / "small.cotdistill.zip"
    export_study(trained, "small", path)
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def places(document, before=()):
    """Every place of a JSON document, as the keys and indices that lead there."""
    inner = (
        document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    )
    return [before, *(place for key, value in inner for place in places(value, (*before, key)))]


def changed(document, place, value):
    if not place:
        return value
    copy = dict(document) if isinstance(document, dict) else list(document)
    copy[place[0]] = changed(copy[place[0]], place[1:], value)
    return copy


@few
@given(st.data())
def test_an_archive_with_one_wrong_value_is_refused_whole_or_taken_whole(tmp_path_factory, trained, members, data):
    name = data.draw(st.sampled_from(sorted(one for one in members if one.endswith(".json"))))
    document = json.loads(members[name])
    document = changed(document, data.draw(st.sampled_from(places(document))), data.draw(PLAIN))
    content = members | {name: json.dumps(document).encode()}
    listed = document if name == "manifest.json" else json.loads(members["manifest.json"])
    if isinstance(listed, dict):
        # The sums fit again: what is wrong is in what is said, and cannot be seen from outside.
        if name != "manifest.json":
            of = {"size": len(content[name]), "sha256": hashlib.sha256(content[name]).hexdigest()}
            listed["members"] = [{**one, **of} if one["name"] == name else one for one in listed["members"]]
        # A number that is none (NaN, infinity) has no digest: there the old one stands, and no longer fits.
        with contextlib.suppress(ValueError):
            listed = {**listed, "digest": digest({key: value for key, value in listed.items() if key != "digest"})}
        content["manifest.json"] = json.dumps(listed).encode()
    path = tmp_path_factory.mktemp("nearly") / "a.cotdistill.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for one, told in content.items():
            archive.writestr(one, told)
    fresh = Store.open(path.parent / "store")
    before = census(fresh)
    if in_words(import_study, fresh, path) is None:
        untouched_but(fresh, before)
    else:
        assert verify(fresh).problems == () and fresh.queue.studies()


@few
@given(
    st.lists(
        st.dictionaries(
            st.sampled_from(["example", "annotator", "spans", "text", "skipped", "when", "x"]), PLAIN, max_size=6
        ),
        max_size=3,
    ),
    TEXT,
)
def test_annotations_of_nonsense_are_read_or_refused_in_words(trained, entries, tail):
    examples = {e.id: e for e in open_task(trained.tasks_root, "field_guide", settings=SETTINGS).examples("train")}
    id = next(iter(examples))
    for text in (
        "".join(json.dumps(entry) + "\n" for entry in entries) + tail,
        json.dumps([{"example": id, **entry} for entry in entries]),
    ):
        marks = in_words(read_marks, text, examples)
        assert marks is None or all(mark.example in examples for mark in marks)


QUERY = st.dictionaries(
    st.sampled_from(KEYS),
    TEXT | PIECES | st.sampled_from(["small", "field_guide", "-1", "1", "0", "99999999999999999999", "post_cot", "post_cot~0", "nan", "words:0-0"]),
    max_size=5,
)  # fmt: skip


@rare
@given(st.sampled_from(PAGES), QUERY)
def test_a_link_of_nonsense_draws_a_page(trained, path, query):
    with pytest.MonkeyPatch.context() as patch:
        drawn(path, trained.home, patch, **query)
