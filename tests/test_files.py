"""Files of rows: formats, endings, encodings; what cannot be read is told with file and line."""

import gzip
import json
import os
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest

from cotdistill.errors import DataError, UnknownName, UsageError
from cotdistill.tasks.importing.files import find_files, kind_of, read_records, source_name


def put(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_the_ending_tells_the_kind_with_or_without_gz():
    names = ("a.jsonl", "A.CSV.GZ", "b.parquet", "c.json", "d.gz")
    assert [kind_of(Path(name)) for name in names] == ["jsonl", "csv", "parquet", "json", None]


def test_a_folder_gives_training_first_and_its_side_files(tmp_path):
    for name in (
        "validation.csv",
        "train.jsonl.gz",
        "test.parquet",
        "notes.txt",
        "rationales/train.a.b.jsonl",
        "rationales/validation.people.csv",
    ):
        put(tmp_path / name, "x")
    found = find_files(tmp_path)
    assert {split: path.name for split, (path,) in found.main.items()} == {
        "train": "train.jsonl.gz",
        "dev": "validation.csv",
        "test": "test.parquet",
    }
    assert list(found.main) == ["train", "dev", "test"]
    assert [(side.split, side.source) for side in found.side] == [("train", "a.b"), ("dev", "people")]


def test_files_named_as_published_are_files_of_their_split_in_order(tmp_path):
    for name in ("esnli_train_2.csv", "esnli_train_1.csv", "dev_rand_split.jsonl", "validation.jsonl", "traintest.csv"):
        put(tmp_path / name, "x")
    files = find_files(tmp_path).main
    assert {split: [path.name for path in of_split] for split, of_split in files.items()} == {
        "train": ["esnli_train_1.csv", "esnli_train_2.csv"],
        "dev": ["dev_rand_split.jsonl", "validation.jsonl"],
    }


ROWS = [{"question": f"{i} ?", "answer": "A"} for i in range(3)]


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(ROWS),
        "\n".join(map(json.dumps, ROWS)),
        json.dumps({str(i): row for i, row in enumerate(ROWS)}),
        json.dumps({"name": "t", "examples": ROWS, "tags": ["x"]}),
    ],
)
def test_a_json_file_is_an_array_lines_rows_by_id_or_rows_under_a_key(tmp_path, text):
    put(tmp_path / "train.json", text)
    records, problems = read_records(tmp_path / "train.json")
    assert [record.row["question"] for record in records] == ["0 ?", "1 ?", "2 ?"] and problems == []


def test_tabs_and_json_lines_in_text_files_are_read(tmp_path):
    put(tmp_path / "a.tsv", 'question\tanswer\nhe said "so\tA\n')
    put(tmp_path / "b.txt", '{"question": "q", "answer": "A"}\n')
    assert read_records(tmp_path / "a.tsv")[0][0].row == {"question": 'he said "so', "answer": "A"}
    assert read_records(tmp_path / "b.txt")[0][0].row["question"] == "q"


def test_arrow_files_and_streams_are_read(tmp_path):
    table = pa.table({"question": ["q"], "answer": ["A"]})
    for name, writer in (("a.arrow", pa.ipc.new_file), ("b.arrow", pa.ipc.new_stream)):
        with writer(tmp_path / name, table.schema) as sink:
            sink.write_table(table)
        assert [record.row for record in read_records(tmp_path / name)[0]] == [{"question": "q", "answer": "A"}]
    put(tmp_path / "c.arrow", "nonsense")
    with pytest.raises(DataError, match="cannot be read as Arrow"):
        read_records(tmp_path / "c.arrow")


def test_labels_that_stand_line_by_line_in_a_second_file_are_joined_or_refused(tmp_path):
    put(tmp_path / "dev.jsonl", '{"goal": "g"}\n{"goal": "h"}\n')
    put(tmp_path / "dev-labels.lst", "1\n0\n")
    assert [record.row["label"] for record in read_records(tmp_path / "dev.jsonl")[0]] == ["1", "0"]
    put(tmp_path / "dev-labels.lst", "1\n")
    with pytest.raises(DataError, match=r"dev-labels.lst has 1 labels, dev.jsonl 2 rows"):
        read_records(tmp_path / "dev.jsonl")


def test_a_side_file_that_names_no_split_is_refused(tmp_path):
    put(tmp_path / "train.jsonl", "x")
    put(tmp_path / "rationales" / "gpt.jsonl", "x")
    with pytest.raises(DataError, match="names no split and source"):
        find_files(tmp_path)


@pytest.mark.parametrize("name", ["missing", "a\0b", "x" * 5000])
def test_a_path_that_cannot_be_is_told_in_words(tmp_path, name):
    with pytest.raises(DataError):
        find_files(tmp_path / name)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every folder")
def test_a_folder_that_may_not_be_read_is_told_in_words(tmp_path):
    tmp_path.chmod(0)
    try:
        with pytest.raises(DataError):
            find_files(tmp_path)
    finally:
        tmp_path.chmod(0o755)


def test_bad_lines_of_jsonl_are_told_each_with_its_line(tmp_path):
    path = put(tmp_path / "a.jsonl", b'{"a": 1}\n\n{broken\n[1]\n\xff\xfe{}\n{"a": 2}\n' + b"[" * 100_000 + b"\n")
    records, problems = read_records(path)
    assert [(r.line, r.row) for r in records] == [(1, {"a": 1}), (6, {"a": 2})]
    assert [(p.line, p.reason.split(":")[0]) for p in problems] == [
        (3, "not JSON"),
        (4, "a list; expected a JSON object"),
        (5, "byte 1 is not UTF-8 text"),
        (7, "the JSON is nested too deeply"),
    ]


def test_lines_of_a_csv_are_counted_over_cells_with_line_breaks(tmp_path):
    path = put(tmp_path / "a.csv", 'id,question\n1,"one\ntwo"\n2\n3,three\n')
    records, problems = read_records(path)
    assert [(r.line, r.row["question"]) for r in records] == [(2, "one\ntwo"), (5, "three")]
    assert [(p.line, p.reason) for p in problems] == [(4, "1 cells; expected 2, as in the header")]


def test_a_quote_that_never_closes_ends_the_csv_with_a_problem(tmp_path):
    records, problems = read_records(put(tmp_path / "a.csv", 'id,q\n1,x\n2,"y\n3,z\n'))
    assert len(records) == 1
    assert problems[0].line == 3 and "not CSV from here on" in problems[0].reason


def test_a_byte_order_mark_is_no_part_of_the_first_name(tmp_path):
    assert read_records(put(tmp_path / "a.csv", b"\xef\xbb\xbfid,q\n1,x\n"))[0][0].row == {"id": "1", "q": "x"}


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.csv", "é,x\n1,2\n".encode("latin-1"), "not UTF-8"),
        ("a.jsonl", '{"a": 1}\n'.encode("utf-16"), "UTF-16"),
        ("a.csv", b"id,id\n1,2\n", "a column twice"),
        ("a.csv", b"id,q\n", "empty"),
        ("a.jsonl", b"\n \n", "empty"),
        ("a.jsonl.gz", b"no gzip", "cannot be read"),
        ("a.jsonl.gz", gzip.compress(b'{"a": 1}\n' * 9000, mtime=0)[:60], "cannot be read"),
        ("a.parquet", b"PAR1 and no more", "cannot be read as Parquet"),
        ("a.parquet", b"", "empty"),
    ],
)
def test_a_file_that_cannot_be_used_as_a_whole_is_told_in_words(tmp_path, name, content, reason):
    with pytest.raises(DataError, match=reason):
        read_records(put(tmp_path / name, content))


def test_parquet_gives_nested_values_as_they_are(tmp_path):
    choices = {"label": ["A", "B"], "text": ["x", "y"]}
    pd.DataFrame([{"id": "1", "choices": choices}]).to_parquet(tmp_path / "a.parquet")
    (record,), _ = read_records(tmp_path / "a.parquet")
    assert record.row["choices"] == choices and record.line == 1
    pd.DataFrame({"id": []}).to_parquet(tmp_path / "b.parquet")
    with pytest.raises(DataError, match="empty"):
        read_records(tmp_path / "b.parquet")


def test_files_are_named_for_a_split_by_name_stem_or_pattern(tmp_path):
    for name in ("part_1.jsonl", "part_2.jsonl", "held.jsonl.gz", "notes.jsonl"):
        put(tmp_path / name, "{}")
    named = find_files(tmp_path, {"train": "part_2.jsonl+part_1", "dev": "hel*"}).main
    assert [file.name for file in named["train"]] == ["part_2.jsonl", "part_1.jsonl"]
    assert list(named) == ["train", "dev"] and [file.name for file in named["dev"]] == ["held.jsonl.gz"]
    assert [file.name for file in find_files(tmp_path, {"train": "part_*"}).main["train"]] == [
        "part_1.jsonl",
        "part_2.jsonl",
    ]
    with pytest.raises(UnknownName, match="'parts_1'") as unknown:
        find_files(tmp_path, {"train": "parts_1"})
    assert "part_1.jsonl" in unknown.value.hint
    for wrong, message in (({"eval": "held"}, "no split of a task"), ({"dev": "held"}, "No training split")):
        with pytest.raises(UsageError, match=message):
            find_files(tmp_path, wrong)
    with pytest.raises(UsageError, match="is one file"):
        find_files(tmp_path / "part_1.jsonl", {"train": "part_1"})


@pytest.mark.parametrize(
    ("given", "name"), [("GPT 4/o", "GPT-4-o"), ("../x", "x"), ("…", "rationale"), ("a.b_c-1", "a.b_c-1")]
)
def test_a_source_gets_a_name_fit_for_files_and_addresses(given, name):
    assert source_name(given) == name
