"""students list, convert: which students can be trained, and leaving pickled weights behind."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from cotdistill.cli.command import Command, Noun, Result
from cotdistill.cli.output import table
from cotdistill.config import StudentConfig
from cotdistill.students.files import here
from cotdistill.students.models import PRETRAINED, STUDENTS
from cotdistill.text import plural

# Sizes of built-in students are told for this vocabulary; the embeddings of another one differ.
VOCABULARY = 4096


def list_students(arguments: argparse.Namespace) -> Result:
    shape = ("layers", "width", "heads", "positions")
    document: list[dict[str, Any]] = [
        {
            "id": student.name,
            "help": student.help,
            **{name: getattr(student, name) for name in shape},
            "parameters": student.parameters(VOCABULARY),
            "block_parameters": student.block_parameters(),
            "hub": None,
            "here": True,
            "gated": False,
            "defaults": {},
            "defaults_by": None,
        }
        for student in STUDENTS
    ]
    document += [
        {
            "id": entry.name,
            "help": entry.help,
            **{name: getattr(entry, name) for name in shape},
            "parameters": entry.parameters,
            "block_parameters": None,
            "hub": entry.hub,
            "here": here(StudentConfig(name=entry.hub)) is not None,
            "gated": entry.gated,
            "defaults": dict(entry.defaults),
            "defaults_by": "ours",
        }
        for entry in PRETRAINED
    ]
    rows = [
        [s["id"], f"{s['parameters']:,}", s["layers"], s["width"], s["heads"], s["positions"], s["help"]]
        for s in document
    ]
    text = table(
        ["student", "parameters", "layers", "width", "heads", "positions", ""],
        rows,
        right=("parameters", "layers", "width", "heads", "positions"),
    )
    pretrained = "\n".join(
        f"{e.name}: {e.hub}, "
        f"{'on this machine' if here(StudentConfig(name=e.hub)) else f'not here yet: hf download {e.hub}'}"
        f"{' (accept its terms on the hub, set HF_TOKEN)' if e.gated else ''}. Settings, ours: {e.settings_text()}."
        for e in PRETRAINED
    )
    return Result(
        document,
        f"{text}\n\nParameters of built-in students count a vocabulary of {VOCABULARY}. Any causal language model "
        f"works: --student\ntakes a folder that save_pretrained wrote, or a hub id such as owner/name.\n\n{pretrained}",
    )


def convert_student(arguments: argparse.Namespace) -> Result:
    # Imported here: this command alone reads weights in this process.
    from cotdistill.students.convert import convert

    folder = Path(arguments.folder).expanduser()
    converted = convert(folder)
    files = list(converted.files)
    parts = [f"{plural(converted.tensors, 'tensor')} in {', '.join(files)}" if files else "Already safetensors"]
    parts += ["tokenizer.json added"] if converted.tokenizer else []
    document = {"folder": str(folder), "files": files, "tensors": converted.tensors, "tokenizer": converted.tokenizer}
    return Result(document, f"{'; '.join(parts)}.\nTrain it with: --student {folder}")


def _folder(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", metavar="FOLDER", help="the folder of a student with pytorch_model.bin")


NOUN = Noun(
    "students",
    "the students at hand",
    (
        Command(
            "students",
            "list",
            "built-in students with their sizes, and the paper's with suitable settings",
            list_students,
            {
                "id": "name for --student",
                "help": "one line",
                "layers": "transformer blocks",
                "width": "hidden size",
                "heads": "attention heads",
                "positions": "longest sequence in tokens",
                "parameters": f"all weights; of a built-in student with a vocabulary of {VOCABULARY}",
                "block_parameters": "of a built-in student: weights of the blocks alone",
                "hub": "of a pretrained student: where the hub has it",
                "here": "whether its weights are on this machine",
                "gated": "whether its terms have to be accepted on the hub",
                "defaults": "settings that suit a study on it",
                "defaults_by": "ours: the paper's are not known to us",
            },
            listed=True,
        ),
        Command(
            "students",
            "convert",
            "convert a folder's pickled weights to safetensors without unpickling code, and add a tokenizer.json",
            convert_student,
            {
                "folder": "the folder",
                "files": "files of weights that were written",
                "tensors": "tensors in them",
                "tokenizer": "whether a tokenizer.json was made",
            },
            _folder,
        ),
    ),
)
