"""students list: which students can be trained, with their sizes."""

from __future__ import annotations

import argparse

from cotdistill.cli.command import Command, Noun, Result
from cotdistill.cli.output import table
from cotdistill.students.models import STUDENTS

# Sizes are told for this vocabulary; the embeddings of another one differ.
VOCABULARY = 4096


def list_students(arguments: argparse.Namespace) -> Result:
    document = [
        {
            "id": student.name,
            "help": student.help,
            "layers": student.layers,
            "width": student.width,
            "heads": student.heads,
            "positions": student.positions,
            "parameters": student.parameters(VOCABULARY),
            "block_parameters": student.block_parameters(),
        }
        for student in STUDENTS
    ]
    rows = [[s["id"], f"{s['parameters']:,}", s["layers"], s["width"], s["heads"], s["positions"], s["help"]] for s in document]
    text = table(
        ["student", "parameters", "layers", "width", "heads", "positions", ""], rows, right=("parameters", "layers", "width", "heads", "positions")
    )
    return Result(
        document,
        f"{text}\n\nParameters are counted with a vocabulary of {VOCABULARY}. Any causal language model fits too: --student takes a folder that\n"
        "save_pretrained wrote, or a hub id such as owner/name.",
    )


NOUN = Noun(
    "students",
    "the students at hand",
    (
        Command(
            "students",
            "list",
            "built-in students with their sizes",
            list_students,
            {
                "id": "name for --student",
                "help": "one line",
                "layers": "transformer blocks",
                "width": "hidden size",
                "heads": "attention heads",
                "positions": "longest sequence in tokens",
                "parameters": f"weights with a vocabulary of {VOCABULARY}",
                "block_parameters": "weights of the blocks alone",
            },
            listed=True,
        ),
    ),
)
