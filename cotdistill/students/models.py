"""The catalogue of students: built-in from-scratch ones with their sizes, and any causal LM by folder or hub id. No torch here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cotdistill.config import StudentConfig
from cotdistill.errors import StudentError, UnknownName
from cotdistill.registry import Registry


@dataclass(frozen=True, slots=True)
class BuiltIn:
    """A GPT-2-architecture student trained from scratch: pre-norm blocks, learned positions, untied embeddings."""

    name: str
    help: str
    layers: int
    width: int
    heads: int
    positions: int = 512

    def block_parameters(self) -> int:
        """Weights of the transformer blocks: attention 4 w^2 + 4 w, MLP 8 w^2 + 5 w, two norms 4 w."""
        return self.layers * (12 * self.width**2 + 13 * self.width)

    def parameters(self, vocabulary: int) -> int:
        """All weights: blocks, final norm, token embeddings in and out, positions."""
        return self.block_parameters() + 2 * self.width + 2 * vocabulary * self.width + self.positions * self.width


STUDENTS: Registry[BuiltIn] = Registry("student")

# Untied: with tied embeddings the generated task's creatures cannot be learnt apart from being predicted.
STUDENTS.register(BuiltIn("nano", "2 layers, width 64: seconds a run on one core; the starter study's student", 2, 64, 4))
STUDENTS.register(BuiltIn("micro", "2 layers, width 128: a minute or so a run on one core", 2, 128, 4))
STUDENTS.register(BuiltIn("mini", "4 layers, width 256: minutes on a CPU, seconds on a GPU", 4, 256, 8))
STUDENTS.register(BuiltIn("small", "6 layers, width 512: for a GPU, or a patient CPU", 6, 512, 8))


def is_built_in(name: str) -> bool:
    return name in STUDENTS


def checked_name(config: StudentConfig) -> str:
    """The student's name if it can be one: built-in, an existing folder with a config.json, or a hub id (owner/name); UnknownName otherwise."""
    name = config.name
    if name in STUDENTS:
        return name
    folder = Path(name).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise StudentError(f"{name} is a folder without a config.json.", "Name the folder that save_pretrained wrote.")
        return str(folder.resolve())
    if name.startswith((".", "/", "~")):
        raise StudentError(
            f"There is no folder {name}.", "Name the folder that save_pretrained wrote, a hub id such as owner/name, or a built-in student."
        )
    if name.count("/") == 1 and all(name.split("/")):
        return name
    raise UnknownName("student", name, STUDENTS.names())
