"""The terminal with real files and real processes: import, a training, the dashboard, a damaged store."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.terminal import Say, check_keys, process, speaker


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Say:
    return speaker(capsys)


# --- files ------------------------------------------------------------------------------------------------------------------------------------


def jsonl(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def row(number: int, **more: Any) -> dict[str, Any]:
    choices = [{"label": "A", "text": "tree"}, {"label": "B", "text": "pond"}]
    return {
        "id": f"r{number}",
        "question": f"where does bird {number} live ?",
        "choices": choices,
        "answer": "A",
        "rationale": "birds nest .",
        **more,
    }


def test_a_file_is_imported_shown_and_exported(say: Say, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COTDISTILL_HOME", str(tmp_path / "own"))
    source = jsonl(tmp_path / "birds.jsonl", [row(i) for i in range(60)])
    said = say(f"tasks import {source} --name birds --json")
    assert said.code == 0, said
    check_keys("tasks import", said.document)
    assert sum(said.document["rows"].values()) == 60
    assert "birds" in [task["id"] for task in say("tasks list --json").document]
    assert say("tasks show birds").code == 0
    exported = say(f"tasks export birds {tmp_path / 'out'} --json").document
    check_keys("tasks export", exported)
    assert all(Path(path).is_file() for path in exported["files"])


def test_bad_rows_are_all_named_and_nothing_is_imported_unless_the_good_ones_are_wanted(
    say: Say, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COTDISTILL_HOME", str(tmp_path / "own"))
    rows = [row(i) for i in range(60)]
    for number in (2, 4, 6, 8, 10):
        rows[number]["answer"] = "Z"
    source = jsonl(tmp_path / "birds.jsonl", rows)
    refused = say(f"tasks import {source} --name birds --json")
    assert refused.code == 1
    assert refused.error["kind"] == "bad_rows"
    assert [problem["line"] for problem in refused.document["problems"]] == [3, 5, 7, 9, 11]
    assert "line 11" in say(f"tasks import {source} --name birds").err
    assert "birds" not in [task["id"] for task in say("tasks list --json").document]
    kept = say(f"tasks import {source} --name birds --keep-good-rows --json")
    assert kept.code == 0, kept
    assert len(kept.document["problems"]) == 5


# --- in processes of their own ----------------------------------------------------------------------------------------------------------------


def test_the_program_answers_from_any_folder_with_json_errors_and_exit_codes(home: Path, tmp_path: Path) -> None:
    said = process("runs", "show", "4711", "--json", home=home)
    assert (said.code, said.error["kind"]) == (2, "not_found")
    assert process("study", "plan", "starter", "--json", home=home).document["counts"]["runs"] == 50
    assert process("nothing", "--json", home=home).error["kind"] == "unknown_name"


def test_a_reader_that_leaves_early_is_no_error(home: Path) -> None:
    line = f"{shlex.quote(sys.executable)} -m cotdistill conditions list | head -1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", line],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "COTDISTILL_HOME": str(home)},
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_store_that_is_a_file_is_told_as_such(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("not a folder")
    said = process("runs", "list", "--json", home=tmp_path / "store")
    assert (said.code, said.error["kind"]) == (1, "store")


def test_doctor_tells_versions_device_memory_and_disk(home: Path) -> None:
    said = process("doctor", "--json", home=home)
    check_keys("doctor", said.document)
    assert said.document["packages"]["torch"].startswith("2.13.0")
    assert said.document["device"]["kind"] in ("cpu", "cuda")
    assert said.code == (0 if said.document["ok"] else 1)


def test_a_study_is_trained_for_real_and_then_verified(tmp_path: Path) -> None:
    home = tmp_path / "own"
    words = "study run --task field_guide --conditions label_only,post_cot --seeds 1 --steps 3 --set training.evaluations=1 --workers 1 --wait --json"
    said = process(*shlex.split(words), home=home)
    assert said.code == 0, said
    assert said.document["report"]["finished"] == 2
    assert all(0 <= c["accuracy"] <= 1 for c in said.document["report"]["conditions"])
    again = process(*shlex.split(words), home=home)
    assert (again.document["new"], len(again.document["reused"])) == ([], 2)
    verified = process("store", "verify", "--json", home=home)
    assert verified.code == 0, verified
    check_keys("store verify", verified.document)
    artefact = next(path for path in (home / "artifacts").rglob("*.parquet"))
    artefact.chmod(0o600)
    artefact.write_bytes(b"other bytes")
    damaged = process("store", "verify", "--json", home=home)
    assert (damaged.code, damaged.document["ok"]) == (1, False)
    assert any(artefact.name[:12] in problem for problem in damaged.document["problems"])


def test_the_dashboard_starts_in_the_background_and_is_stopped(tmp_path: Path) -> None:
    started = process("app", "start", "--json", home=tmp_path)
    try:
        assert started.code == 0, started
        check_keys("app start", started.document)
        with urllib.request.urlopen(started.document["url"], timeout=30) as page:
            assert page.status == 200
    finally:
        stopped = process("app", "stop", "--json", home=tmp_path)
    check_keys("app stop", stopped.document)
    assert stopped.document["dashboards"] == [started.document["pid"]]
    assert process("app", "stop", "--json", home=tmp_path).document == {"dashboards": [], "processes": []}
