"""Where students' files lie, what is said when they cannot be used, and that secrets stay in the environment."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest
from transformers import GPT2Config, GPT2LMHeadModel

from cotdistill.config import StudentConfig
from cotdistill.errors import StudentError, redacted
from cotdistill.students.files import check_folder, checked_student, fingerprint, here, remarks
from cotdistill.students.models import PRETRAINED
from tests.tiny_students import build

TEXTS = ["Where does the bird live? In a tall green tree, because it flies."]
TOKEN = "hf_aVeryRealTokenIndeed"


def hub_folder(cache: Path, name: str, commit: str = "a" * 40) -> Path:
    """An empty folder where the hub's cache keeps a student."""
    folder = cache / f"models--{name.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text(commit)
    return folder / "snapshots" / commit


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return tmp_path / "hub"


def test_a_student_of_the_hub_is_found_in_the_cache_once_all_of_it_is_there(cache: Path) -> None:
    config = StudentConfig(name="owner/name")
    snapshot = hub_folder(cache, "owner/name")
    assert here(config) is None
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text(json.dumps({"vocab_size": 10}))
    (snapshot / "model.safetensors.index.json").write_text(
        json.dumps({"weight_map": {"a": "one.safetensors", "b": "two.safetensors"}})
    )
    (snapshot / "one.safetensors").touch()
    assert here(config) is None
    (snapshot / "two.safetensors").touch()
    assert here(config) == snapshot == here(StudentConfig(name="owner/name", revision="a" * 40))
    assert here(StudentConfig(name="owner/name", revision="v2")) is None
    assert fingerprint(config) == "a" * 40


def test_where_the_cache_is_follows_the_hubs_own_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    for name, folder in (("HF_HOME", tmp_path / "hub"), ("XDG_CACHE_HOME", tmp_path / "huggingface" / "hub")):
        monkeypatch.delenv("HF_HOME", raising=False)
        monkeypatch.setenv(name, str(tmp_path))
        snapshot = hub_folder(folder, "owner/name")
        snapshot.mkdir(parents=True)
        (snapshot / "config.json").touch()
        (snapshot / "model.safetensors").touch()
        assert here(StudentConfig(name="owner/name")) == snapshot


@pytest.mark.parametrize("entry", [e for e in PRETRAINED if e.package is None], ids=lambda entry: entry.name)
def test_weights_that_are_missing_are_answered_with_the_command_that_brings_them(
    cache: Path, entry, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = StudentConfig(name=entry.name)
    with pytest.raises(StudentError) as error:
        checked_student(config)
    assert f"hf download {entry.hub}" in error.value.hint and str(cache) in error.value.message
    assert "HF_HUB_OFFLINE is set" in error.value.hint
    assert ("HF_TOKEN" in error.value.hint) == entry.gated
    monkeypatch.delenv("HF_HUB_OFFLINE")
    resolved = checked_student(config)
    assert resolved.name == entry.hub
    assert any(f"hf download {entry.hub}" in told for told in remarks(resolved))


def test_a_student_of_the_hub_is_loaded_from_the_cache_without_asking_the_hub(cache: Path) -> None:
    from cotdistill.students.loading import load_student

    build(hub_folder(cache, "owner/name"), "gpt2", TEXTS)
    model = load_student(checked_student(StudentConfig(name="owner/name")), 1, 0)
    assert type(model).__name__ == "GPT2LMHeadModel"
    (told,) = remarks(StudentConfig(name="owner/name"))
    assert f"student.revision={'a' * 40}" in told


@pytest.mark.parametrize("name", ["pytorch_model.bin", "pytorch_model-00001-of-00002.bin", "weights.pt"])
def test_a_pickled_folder_is_refused_before_anything_is_opened(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "my student"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / name).write_bytes(b"cos\nsystem\n(S'touch /tmp/ran'\ntR.")
    with pytest.raises(StudentError) as error:
        checked_student(StudentConfig(name=str(folder)))
    assert name in error.value.message and f"students convert '{folder}'" in error.value.hint
    with pytest.raises(StudentError) as error:
        check_folder(folder, "owner/name")
    assert "hf download owner/name --local-dir FOLDER" in error.value.hint and "convert FOLDER" in error.value.hint


def test_a_folder_without_weights_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(StudentError, match=r"no weights"):
        checked_student(StudentConfig(name=str(tmp_path)))


def test_the_fingerprint_of_a_folder_follows_its_weights(tmp_path: Path) -> None:
    folder = build(tmp_path, "gpt2", TEXTS)
    config = StudentConfig(name=str(folder))
    before = fingerprint(config)
    (folder / "README.md").write_text("a note")
    assert fingerprint(config) == before and len(before) == 64
    build(folder, "gpt2", TEXTS, seed=1)
    assert fingerprint(config) != before


def test_what_trusting_a_students_code_means_is_told_before_it_is_trained(tmp_path: Path) -> None:
    (told,) = remarks(StudentConfig(name=str(tmp_path), trust_remote_code=True))
    assert "all your rights" in told and "Pin" not in told
    assert "Pin the revision" in remarks(StudentConfig(name="owner/name", trust_remote_code=True))[0]
    assert remarks(StudentConfig(name=str(tmp_path))) == []


def test_secret_values_leave_every_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    error = StudentError(f"401 for Bearer {TOKEN}", f"was {TOKEN}")
    assert str(error) == error.message == "401 for Bearer <HF_TOKEN>" and error.hint == "was <HF_TOKEN>"
    monkeypatch.setenv("HF_TOKEN", "")
    assert redacted("nothing to hide") == "nothing to hide"


class Echo(BaseHTTPRequestHandler):
    """A hub that refuses everything and repeats what it was sent, as servers that are debugged do."""

    seen: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        sent = self.headers.get("Authorization", "")
        self.seen.append(sent)
        body = json.dumps({"error": f"you sent {sent}"}).encode()
        self.send_response(401)
        self.send_header("X-Error-Message", f"refused: {sent}")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    do_HEAD = do_GET

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def hub() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


RUN = """
from cotdistill.planning.plan import launch, plan
from cotdistill.execution.worker import work
from cotdistill.store.store import Store
from cotdistill.studies.spec import study_spec
store = Store.open()
spec = {"conditions": "label_only", "replicates": 1, "student": "owner/name", "task_settings": {"creatures": 24, "documents": 10, "wordings": 1}}
launch(store, plan(store, study_spec(None, spec)))
work(store)
print([job.error["message"] for job in store.queue.jobs()])
"""


def test_a_token_is_sent_to_the_hub_and_written_nowhere(hub: str, tmp_path: Path) -> None:
    """A load that fails with the token in the hub's answer; then every byte of the store, the logs and the output is looked through."""
    home, cache = tmp_path / "store", tmp_path / "hub"
    environment = {
        **os.environ,
        "HF_TOKEN": TOKEN,
        "HF_ENDPOINT": hub,
        "HF_HOME": str(cache),
        "COTDISTILL_HOME": str(home),
        "OMP_NUM_THREADS": "1",
    }
    environment |= {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_HUB_CACHE"):
        environment.pop(name, None)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", RUN], capture_output=True, text=True, env=environment, timeout=240
    )
    assert done.returncode == 0, done.stderr
    assert any(TOKEN in sent for sent in Echo.seen), "the hub was never asked with the token"
    assert "owner/name" in done.stdout and TOKEN not in done.stdout + done.stderr
    files = [path for folder in (home, cache) if folder.exists() for path in folder.rglob("*") if path.is_file()]
    assert any(path.suffix == ".log" for path in files)
    assert not [path for path in files if TOKEN.encode() in path.read_bytes()]


def test_a_pickle_beside_safetensors_is_never_looked_at(tmp_path: Path) -> None:
    GPT2LMHeadModel(GPT2Config(vocab_size=60, n_positions=32, n_embd=16, n_layer=1, n_head=2)).save_pretrained(tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(b"no pickle at all")
    assert checked_student(StudentConfig(name=str(tmp_path))).name == str(tmp_path)
