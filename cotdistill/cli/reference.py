"""docs/cli.md and docs/conditions.md, written from the parsers and the registries, and what `--help` lists: `make docs`."""

from __future__ import annotations

import argparse
from pathlib import Path

from cotdistill.cli import PROGRAM, contents, parser_of
from cotdistill.cli.command import Command
from cotdistill.cli.commands.conditions import entries, told
from cotdistill.cli.nouns import NOUNS

_HEAD = f"""# The terminal

Written by `make docs`; do not edit. Every command is `{PROGRAM} NOUN VERB`.

- `--json` on any command: exactly one JSON document on stdout, progress and logs on stderr. Lists are arrays of objects with an `id`.
- An error is `{{"error": {{"kind", "message", "hint"}}}}`. Where rows of a file cannot be read, `problems` beside it lists all of them
  (`file`, `line`, `reason`).
- Exit codes: 0; 1 the work failed; 2 the words were wrong; 130 interrupted.
- Everything is kept in one folder: `COTDISTILL_HOME`, else `data/store` of the clone.
- Shares are between 0 and 1, times are seconds (moments: unix time), sizes are bytes unless a key says otherwise.
"""

_CONDITIONS_HEAD = """# Conditions

Written by `make docs` from the registries; do not edit. A condition is text, the same in the terminal, in a YAML file, in an address and
in the store:

    placement[/transform[(name=value,...)]]...[+objective[(name=value,...)]]...[@source=NAME][,tokens=CONDITION][,fraction=SHARE][,target=naive]

Transforms act from left to right. `source=` takes another teacher's rationales; `tokens=` trains until as many tokens were seen as under
that condition; `fraction=` trains on that share of the training rows, drawn by hash, so that a smaller share lies within a larger one.
`target=naive` tokenises the label apart from the text before it (arXiv 2212.09912); see [tasks.md](tasks.md) for what `lint` says of it.
A control stands beside the claims: foreign or emptied rationales, and arms at equal tokens.
"""


def terminal_page() -> str:
    """docs/cli.md."""
    parts = [_HEAD]
    for noun in NOUNS.values():
        parts.append(f"## {noun.name}\n\n{noun.help[:1].upper()}{noun.help[1:]}.\n")
        parts += [_command(command) for command in noun]
    return "\n".join(parts)


def _command(command: Command) -> str:
    actions = [action for action in parser_of(command)._actions if action.dest not in ("help", "json")]
    synopsis = " ".join([command.words, *(_shape(action) for action in actions)])
    lines = [f"### `{command.words}`", "", f"{command.help[:1].upper()}{command.help[1:]}.", "", f"    {synopsis}", ""]
    if command.notes:
        lines += [command.notes, ""]
    if actions:
        lines += [
            "| argument | what it is |",
            "| --- | --- |",
            *(f"| `{_cell(_name(a))}` | {_cell(_help(a))} |" for a in actions),
            "",
        ]
    shape = "An array of objects with these keys:" if command.listed else "A document with these keys:"
    lines += [
        shape,
        "",
        "| key | what it is |",
        "| --- | --- |",
        *(f"| `{key}` | {_cell(help)} |" for key, help in command.keys.items()),
        "",
    ]
    return "\n".join(lines)


def _name(action: argparse.Action) -> str:
    """`--seeds N`, or the name of what stands without an option."""
    value = str(action.metavar or (("{" + ",".join(map(str, action.choices)) + "}") if action.choices else action.dest))
    if not action.option_strings:
        return value
    return action.option_strings[-1] if action.nargs == 0 else f"{action.option_strings[-1]} {value}"


def _shape(action: argparse.Action) -> str:
    text = _name(action)
    if not action.option_strings:
        return {"?": f"[{text}]", "+": f"{text} [{text} ...]"}.get(str(action.nargs), text)
    return text if action.required else f"[{text}]"


def _help(action: argparse.Action) -> str:
    allowed = f" (one of {', '.join(map(str, action.choices))})" if action.choices and action.metavar else ""
    return (action.help or "") + allowed


def conditions_page() -> str:
    """docs/conditions.md."""
    lines = [_CONDITIONS_HEAD]
    for kind, header in (
        ("placement", "| placement | what it does |"),
        ("transform", "| transform | what it does | parameters | control |"),
        ("objective", "| objective | what it does | parameters | control |"),
        ("preset", "| preset | what it does | stands for |"),
    ):
        lines += [header, "|" + " --- |" * (header.count("|") - 1)]
        for entry in entries():
            if entry["kind"] != kind:
                continue
            cells = [f"`{entry['id']}`", entry["help"]]
            if kind in ("transform", "objective"):
                cells += [
                    "; ".join(f"`{told(p)}` {p['help']}" for p in entry["parameters"]),
                    "yes" if entry["control"] else "",
                ]
            if kind == "preset":
                cells.append(f"`{entry['condition']}`")
            lines.append("| " + " | ".join(map(_cell, cells)) + " |")
        lines.append("")
    return "\n".join(lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


PAGES = {"cli.md": terminal_page, "conditions.md": conditions_page}


def write(folder: Path) -> list[Path]:
    """Write every generated page into a folder; the paths."""
    written = []
    for name, page in PAGES.items():
        path = folder / name
        path.write_text(page(), encoding="utf-8")
        written.append(path)
    return written


def write_contents() -> Path:
    """Write what `--help` lists without loading a command; the path."""
    contents.PATH.write_text(contents.written(), encoding="utf-8")
    return contents.PATH


if __name__ == "__main__":
    for path in (*write(Path(__file__).resolve().parents[2] / "docs"), write_contents()):
        print(path)
