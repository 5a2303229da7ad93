"""The warm process behind `live`: holds a few students open and answers questions about single examples, one JSON
document a connection.

{"do": "ping"}                  -> {"pid"}
{"do": "attribute", "run", "checkpoint", "source", "settings", and either "split" and "example" (an id) or "edited":
{"question",
 "choices": [[label, text]], "answer", "rationale"}}
                                -> {"reading", "explanations", "probabilities", "predicted", "gold", "not_readable",
                                "seconds"}
{"do": "answers", "run", "checkpoint", "source", "split"}   -> {"ids", "correct"}: which examples the student answers
rightly, asked as above {"do": "influence", "run", "checkpoint", "split", "example"}
                                -> {"pieces", "segments", "columns" of the aligned tokens and, by them, "label_text",
                                "loss", "own", "matched",
 "random", "value", "cosine_value" (see look_influence.COLUMNS), "questions" in the matched pool, "seconds"}

Whatever else comes is answered with {"error": {"kind", "message", "hint"}}. Nothing that is received is ever run.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from cotdistill.config import from_mapping
from cotdistill.errors import CotdistillError, UnknownName, UsageError
from cotdistill.execution.live.client import FORM, IDLE_SECONDS, MOST_BYTES, lock_path, socket_path
from cotdistill.rationales.placement import SEGMENTS
from cotdistill.saliency.settings import AttributionSettings
from cotdistill.store.locks import Lock
from cotdistill.store.store import Store
from cotdistill.tasks.example import Choice, Example

# How long a client may take to say what it wants.
PATIENCE = 10.0
MOST_CHOICES = 26
# A filter is no scoring run: more rows than this are not answered for one.
MOST_ANSWERS = 4000


def edited(values: Any) -> Example:
    """An example as a person has written it; UsageError says what is wrong."""
    if not isinstance(values, Mapping):
        raise UsageError("The edited example is no mapping.", "Expected question, choices, answer and rationale.")
    question, rationale, answer = (values.get(name) for name in ("question", "rationale", "answer"))
    if not isinstance(question, str) or not question.strip():
        raise UsageError("The question is empty.", "Write a question.")
    if rationale is not None and not isinstance(rationale, str):
        raise UsageError("The rationale is no text.", "Write one, or leave it empty.")
    listed = values.get("choices")
    if not isinstance(listed, list) or not 2 <= len(listed) <= MOST_CHOICES:
        raise UsageError(f"Expected 2 to {MOST_CHOICES} choices.", "Give each a label and a text.")
    choices = []
    for item in listed:
        if (
            not isinstance(item, list)
            or len(item) != 2
            or not all(isinstance(part, str) and part.strip() for part in item)
        ):
            raise UsageError(f"{str(item)[:80]!r} is no choice.", "Expected a label and a text.")
        choices.append(Choice(item[0], item[1]))
    labels = [choice.label for choice in choices]
    if answer not in labels or len(set(labels)) < len(labels):
        raise UsageError(
            f"The answer {str(answer)[:40]!r} is none of the choices {', '.join(labels)}.",
            "Name one of them; labels must differ.",
        )
    lines = values.get("passage_lines", 0)
    return Example(
        "edited",
        question,
        tuple(choices),
        str(answer),
        "dev",
        rationale or None,
        "edited",
        passage_lines=lines if isinstance(lines, int) else 0,
    )


def attribute(store: Store, request: Mapping[str, Any]) -> dict[str, Any]:
    """Attributions of one example: arrays as lists, None where nothing can be read."""
    # Loaded with the first question: the process listens before torch is there.
    from cotdistill.execution.open_student import open_run
    from cotdistill.saliency.attribution import attribute as compute
    from cotdistill.studies.inspection_jobs import named_examples, source_of

    begun = time.perf_counter()
    source = _text(request, "source")
    settings = request.get("settings", {})
    if not isinstance(settings, Mapping):
        raise UsageError("settings is no mapping.")
    opened = open_run(store, _text(request, "run"), _text(request, "checkpoint", "1"), source=source)
    if "edited" in request:
        example = edited(request["edited"])
    else:
        (example,) = named_examples(
            opened.task, _text(request, "split", "dev"), [_text(request, "example")], source_of(opened.job, source)
        )
    attributed = compute(
        opened.model,
        opened.encoder,
        [example],
        opened.condition.spec,
        from_mapping(AttributionSettings, settings),
        opened.counts,
        metric=opened.metric,
    )
    first = attributed[0]
    reading = first.reading
    return {
        "reading": {
            "id": reading.id,
            "placement": reading.placement,
            "ids": reading.ids.tolist(),
            "segments": [SEGMENTS[s] for s in reading.segments],
            "words": reading.words.tolist(),
            "sentences": reading.sentences.tolist(),
            "origin": reading.origin.tolist(),
            "pieces": list(reading.pieces),
            "choice_texts": list(reading.choice_texts),
            "choice_labels": list(reading.choice_labels),
            "label_at": reading.label_at,
            "left_out": reading.left_out,
        },
        "explanations": [
            {
                "target_at": one.target_at,
                "target": one.target,
                "scores": [None if math.isnan(score) else score for score in one.scores.tolist()],
                "value": one.value,
                "gap": one.gap,
                "steps": one.steps,
                "converged": one.converged,
            }
            for one in attributed
        ],
        "probabilities": list(first.probabilities),
        "predicted": first.predicted,
        "gold": reading.gold,
        "not_readable": first.not_readable,
        "seconds": round(time.perf_counter() - begun, 4),
    }


def answers(store: Store, request: Mapping[str, Any]) -> dict[str, Any]:
    """Which examples of a split are answered rightly, each with the rationale at hand where the label reads one."""
    from cotdistill.execution.open_student import open_run
    from cotdistill.saliency.probe import StudentQueries
    from cotdistill.saliency.reading import read_example
    from cotdistill.studies.inspection_jobs import source_of

    source, split = _text(request, "source"), _text(request, "split", "dev")
    opened = open_run(store, _text(request, "run"), _text(request, "checkpoint", "1"), source=source)
    examples = opened.task.examples(split, source_of(opened.job, source) or None)
    if len(examples) > MOST_ANSWERS:
        raise UsageError(
            f"The {split} split has {len(examples):,} rows; at most {MOST_ANSWERS:,} are answered at once.",
            "Choose another split.",
        )
    probe = StudentQueries(opened.model, opened.encoder.specials.pad)
    readings = [
        read_example(opened.encoder, e, opened.condition.spec, metric=opened.metric, limit=probe.reader.positions)
        for e in examples
    ]
    correct = [int(p.argmax()) == r.gold for p, r in zip(probe.choice_probabilities(readings), readings, strict=True)]
    return {"ids": [example.id for example in examples], "correct": correct}


def influence(store: Store, request: Mapping[str, Any]) -> dict[str, Any]:
    """Training-signal alignment of one example's rationale tokens, in the sequence that the student was trained on, at
    one checkpoint.
    """
    from cotdistill.execution.jobs.influence import aligner_of, rows_of, sequences_of
    from cotdistill.execution.open_student import open_run
    from cotdistill.saliency.reading import pieces

    begun = time.perf_counter()
    split = _text(request, "split", "train")
    if split == "test":
        raise UsageError("Alignment is never taken on test questions.", "Choose the train split, or dev.")
    opened = open_run(store, _text(request, "run"), _text(request, "checkpoint", "1"))
    ((example, sequence),) = sequences_of(opened, split, [_text(request, "example")])
    aligned = aligner_of(opened, "blocks", moments=False).align(example, sequence)
    rows = rows_of(opened, aligned)
    document = {
        name: rows[name].tolist()
        for name in ("label_text", "loss", "own", "matched", "random", "value", "cosine_value")
    }
    return {
        "pieces": list(pieces(opened.encoder, sequence.ids.tolist())),
        "segments": [SEGMENTS[s] for s in sequence.segments],
        "columns": aligned.columns.tolist(),
        **{name: [None if v != v else v for v in values] for name, values in document.items()},
        "questions": aligned.matched,
        "seconds": round(time.perf_counter() - begun, 4),
    }


def ping(store: Store, request: Mapping[str, Any]) -> dict[str, Any]:
    return {"pid": os.getpid()}


Handler = Callable[[Store, Mapping[str, Any]], dict[str, Any]]
HANDLERS: dict[str, Handler] = {"ping": ping, "attribute": attribute, "answers": answers, "influence": influence}


def _text(request: Mapping[str, Any], name: str, default: str = "") -> str:
    value = request.get(name, default)
    if not isinstance(value, str) or len(value) > 4096:
        raise UsageError(f"{name} is {str(value)[:80]!r}; expected text.")
    return value


class Server:
    """Listens until nobody has asked for a while. Questions are computed one after the other; connections may come at
    once.
    """

    def __init__(self, store: Store, idle: float) -> None:
        self.store, self.idle = store, idle
        self.leaving = threading.Event()
        self.asked = time.monotonic()
        self._compute = threading.Lock()

    def run(self) -> None:
        path = socket_path(self.store)
        # The lock is ours, so whoever left this is dead.
        path.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
            os.chmod(path, 0o600)
            listener.listen(16)
            listener.settimeout(0.5)
            while (
                not self.leaving.is_set()
                and self.store.queue.database.path.exists()
                and time.monotonic() - self.asked < self.idle
            ):
                with contextlib.suppress(TimeoutError):
                    connection, _ = listener.accept()
                    self.asked = time.monotonic()
                    threading.Thread(target=self._serve, args=(connection,), daemon=True).start()
            path.unlink(missing_ok=True)
        # A question in the middle is answered before the process ends.
        with self._compute:
            pass

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.settimeout(PATIENCE)
            line = bytearray()
            while not line.endswith(b"\n") and len(line) <= MOST_BYTES:
                part = connection.recv(1 << 16)
                if not part:
                    return
                line += part
            document = self.answer(bytes(line))
            connection.settimeout(PATIENCE)
            connection.sendall(
                json.dumps(document, ensure_ascii=False, allow_nan=False).encode("utf-8", "replace") + b"\n"
            )
            self.asked = time.monotonic()

    def answer(self, line: bytes) -> dict[str, Any]:
        """The document for one line, an error in words if it is none that can be answered."""
        try:
            if len(line) > MOST_BYTES:
                raise UsageError(f"The question has more than {MOST_BYTES:,} bytes.", "Shorten the text.")
            try:
                request = json.loads(line)
            except (ValueError, RecursionError):
                raise UsageError(
                    "The question is no JSON document.", "Ask through cotdistill.execution.live.client."
                ) from None
            if not isinstance(request, dict):
                raise UsageError("The question is no mapping.", "Ask through cotdistill.execution.live.client.")
            if request.get("form") != FORM:
                self.leaving.set()
                return {
                    "error": {
                        "kind": "other_form",
                        "message": "This process is of another version and makes way.",
                        "hint": "Ask again.",
                    }
                }
            wanted = request.get("do")
            if wanted not in HANDLERS:
                raise UnknownName("question", str(wanted)[:80], HANDLERS)
            with self._compute:
                return {"answer": HANDLERS[wanted](self.store, request)}
        except CotdistillError as error:
            return {"error": error.as_dict()}
        except Exception as error:
            # What nobody foresaw is told, and written to the log with its trace.
            sys.excepthook(type(error), error, error.__traceback__)
            return {
                "error": {
                    "kind": "unexpected",
                    "message": f"{type(error).__name__}: {error}",
                    "hint": f"See {self.store.home / 'live.log'}",
                }
            }


def main() -> int:
    """The process that `live.warm` starts."""
    parser = argparse.ArgumentParser(
        prog="python -m cotdistill.execution.live.server", description="Answers questions about single examples."
    )
    parser.add_argument("--home", type=Path, help="the store's folder")
    store = Store.open(parser.parse_args().home)
    try:
        lock = Lock(lock_path(store))
    except BlockingIOError:
        print("Another process answers already.", flush=True)
        return 0
    # Training and the pages come first.
    os.nice(10)
    server = Server(store, float(os.environ.get("COTDISTILL_LIVE_IDLE_SECONDS", IDLE_SECONDS)))
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: server.leaving.set())
    # While the first question is on its way.
    threading.Thread(target=_load, daemon=True).start()
    server.run()
    lock.release()
    return 0


def _load() -> None:
    pass


if __name__ == "__main__":
    sys.exit(main())
