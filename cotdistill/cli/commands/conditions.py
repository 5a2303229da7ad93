"""conditions list, export: placements, transforms, objectives and presets, from the registries; and conditions as files
for other trainers."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cotdistill.cli.command import Command, Noun, Result
from cotdistill.cli.output import note, table
from cotdistill.cli.overrides import add_overrides, spec_of
from cotdistill.errors import UsageError
from cotdistill.exchange.condition_export import SPLITS, ExportedCondition, export_conditions
from cotdistill.exchange.trainer_formats import FORMATS
from cotdistill.planning.plan import plan
from cotdistill.rationales.conditions import PRESETS, parse
from cotdistill.rationales.objectives import OBJECTIVES
from cotdistill.rationales.placement import PLACEMENTS
from cotdistill.rationales.transforms import TRANSFORMS, Parameter
from cotdistill.store.store import Store
from cotdistill.text import count


def entries() -> list[dict[str, Any]]:
    """Every part of a condition, in the order of the registries: for the terminal and the table of the docs."""
    rows: list[dict[str, Any]] = [
        {"id": p.name, "kind": "placement", "help": p.help, "condition": p.name, "control": False, "parameters": []}
        for p in PLACEMENTS
    ]
    for entry in TRANSFORMS:
        text = "post_cot" if entry.name == "identity" else str(parse(f"post_cot/{entry.name}"))
        parameters = [_parameter(parameter) for parameter in entry.parameters]
        rows.append(
            {
                "id": entry.name,
                "kind": "transform",
                "help": entry.help,
                "condition": text,
                "control": entry.control,
                "parameters": parameters,
            }
        )
    for objective in OBJECTIVES:
        start = objective.placements[0] if objective.placements else "post_cot" if objective.rationale else "label_only"
        rows.append(
            {
                "id": objective.name, "kind": "objective", "help": f"{objective.help} ({objective.source})",
                "condition": str(parse(f"{start}+{objective.name}")), "control": objective.control,
                "parameters": [_parameter(parameter) for parameter in objective.parameters],
            }
        )  # fmt: skip
    for preset in PRESETS:
        condition = parse(preset.condition)
        rows.append(
            {
                "id": preset.name,
                "kind": "preset",
                "help": preset.help,
                "condition": str(condition),
                "control": condition.is_control,
                "parameters": [],
            }
        )
    return rows


def _parameter(parameter: Parameter) -> dict[str, Any]:
    return {
        "name": parameter.name,
        "default": parameter.default,
        "help": parameter.help,
        "low": parameter.low,
        "high": parameter.high,
        "choices": list(parameter.choices) if parameter.choices else None,
    }


def parameter_text(parameter: dict[str, Any]) -> str:
    """One parameter in a line: `fraction=1.0 (0 to 1)`, `unit=token (token, word, sentence)`."""
    if parameter["choices"]:
        allowed = " (" + ", ".join(parameter["choices"]) + ")"
    elif parameter["low"] is not None and parameter["high"] is not None:
        allowed = f" ({parameter['low']:g} to {parameter['high']:g})"
    else:
        allowed = ""
    return f"{parameter['name']}={parameter['default']}{allowed}"


def list_conditions(arguments: argparse.Namespace) -> Result:
    document = entries()
    parts = []
    for kind, title in (
        ("placement", "Placements: where the rationale stands"),
        ("transform", "Transforms of the rationale: placement/transform(parameter=value,...)"),
        ("objective", "Objectives: placement/transform...+objective(parameter=value,...)"),
        ("preset", "Presets: short names"),
    ):
        rows = []
        for entry in document:
            if entry["kind"] == kind:
                third = entry["condition"] if kind == "preset" else "  ".join(map(parameter_text, entry["parameters"]))
                rows.append([entry["id"], entry["help"] + (" [control]" if entry["control"] else ""), third])
        header = [
            kind,
            "what it does",
            {"placement": "", "transform": "parameters", "objective": "parameters", "preset": "stands for"}[kind],
        ]
        parts.append(f"{title}\n{table(header, rows)}")
    parts.append(
        "A condition: post_cot/shuffle(unit=token,fraction=1.0)+label_smoothing@source=NAME,tokens=CONDITION,"
        "fraction=0.25\n"
        "  several transforms act from left to right; source= takes another teacher's rationales;\n"
        "  tokens= trains until as many tokens were seen as under that condition;\n"
        "  fraction= trains on that share of the training rows: a smaller one lies within a larger one.\n"
        "  target=naive tokenises the label apart from the text before it (arXiv 2212.09912)."
    )
    return Result(document, "\n\n".join(parts))


@dataclass(frozen=True)
class ConditionsExported:
    """What `conditions export` answers."""

    folder: str  # where everything lies
    format: str  # its name
    use: str  # how the trainer is pointed at a file
    conditions: list[ExportedCondition]  # one entry per condition


def export(arguments: argparse.Namespace) -> Result:
    store, out = Store.open(), Path(arguments.out).expanduser()
    splits = tuple(dict.fromkeys(name.strip() for name in arguments.splits.split(",") if name.strip()))
    if not splits or not set(splits) <= set(SPLITS):
        raise UsageError(
            f"--splits is {arguments.splits!r}; expected some of {', '.join(SPLITS)}.", "For example train."
        )
    planned = plan(store, spec_of(store, arguments))
    done = export_conditions(store, planned, arguments.format, out, splits=splits, report=note)
    use = FORMATS.get(arguments.format).use
    rows = [[each.condition, each.folder, len(each.files), count(each.rows), each.written] for each in done]
    lines = [table(["condition", "folder", "files", "training rows", "written now"], rows, right=("files",)), ""]
    lines += [f"Use: {use}", "", f"What {arguments.format} cannot say (also in each card.json):"]
    lines += [f"  {text}" for text in dict.fromkeys(text for each in done for text in each.notes)]
    return Result(ConditionsExported(str(out), arguments.format, use, done), "\n".join(lines))


def _export_arguments(parser: argparse.ArgumentParser) -> None:
    add_overrides(parser)
    parser.add_argument("--condition", dest="conditions", metavar="C", help="the same as --conditions")
    parser.add_argument(
        "--format",
        required=True,
        choices=FORMATS.names(),
        help="; ".join(f"{each.name}: {each.help}" for each in FORMATS),
    )
    parser.add_argument("--out", required=True, metavar="DIR", help="a folder, made if it is not there")
    parser.add_argument(
        "--splits", default="train,dev", metavar="A,B", help="which splits; test holds answers too (default train,dev)"
    )


NOUN = Noun(
    "conditions",
    "what can be done to a rationale",
    (
        Command(
            "conditions",
            "list",
            "placements, transforms, objectives and presets",
            list_conditions,
            {
                "id": "name",
                "kind": "placement, transform, objective or preset",
                "help": "one line",
                "condition": "a condition that uses it, in canonical form",
                "control": "whether it is a control or a rival explanation",
                "parameters": "parameters of a transform or an objective",
                "parameters[].name": "name",
                "parameters[].default": "value when it is left out",
                "parameters[].help": "one line",
                "parameters[].low": "smallest value, or null",
                "parameters[].high": "largest value, or null",
                "parameters[].choices": "allowed words, or null",
            },
            listed=True,
        ),
        Command(
            "conditions",
            "export",
            "write conditions as files for other trainers: what a student would read, and what bears loss",
            export,
            ConditionsExported,
            _export_arguments,
            notes="One folder per condition, one file per split and replicate, and a card.json with the task's digest,"
            " seeds, counts and what the format cannot say. Interrupted, it goes on where it was.",
            example="--task csqa --conditions label_only,post_cot --format trl --out rows",
        ),
    ),
)
