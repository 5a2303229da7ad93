"""Which tokenizer a run reads with, and how it reads with it."""

from __future__ import annotations

from pathlib import Path

from cotdistill.config import RunConfig
from cotdistill.errors import StudentError
from cotdistill.rationales.conditions import parse
from cotdistill.students.files import here, missing, needs_network
from cotdistill.students.models import is_built_in
from cotdistill.students.tokens import Encoder
from cotdistill.tasks.task import Task


def encoder_of(task: Task, run: RunConfig) -> Encoder:
    """The encoder of a run: its tokenizer, the task's template, and how its answers begin and end. A run without a
    condition (selections, previews) reads consistent answers.
    """
    naive = bool(run.condition) and parse(run.condition).naive
    return Encoder(tokenizer_of(task, run), task.template, naive=naive, terminator=run.terminator)


def tokenizer_of(task: Task, run: RunConfig) -> Path:
    """Built-in students read with the task's tokenizer (trained at import, one per source); others with their own
    tokenizer.json.
    """
    if is_built_in(run.student.name):
        return task.tokenizer(run.source, run.tokenizer)
    folder = here(run.student)
    if folder is not None:
        return folder / "tokenizer.json"
    if not needs_network(run.student):
        raise missing(run.student)
    return _from_hub(run.student.name, run.student.revision)


def _from_hub(name: str, revision: str) -> Path:
    # Imported here: huggingface_hub is slow to import, and only runs on hub students need it.
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        for beside in ("tokenizer_config.json", "config.json"):
            hf_hub_download(name, beside, revision=revision or None)
        return Path(hf_hub_download(name, "tokenizer.json", revision=revision or None))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        raise StudentError(
            f"The tokenizer of {name!r} cannot be had: {str(error).splitlines()[0]}",
            "Check the name and the network, or save the student to a folder with save_pretrained and name the folder.",
        ) from error
