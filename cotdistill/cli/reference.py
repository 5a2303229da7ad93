"""`make docs`: cli.md, json.md and conditions.md, from commands and registries, and contents.json for --help."""

from __future__ import annotations

import argparse
from pathlib import Path

from cotdistill.cli import PROGRAM, contents, parser_of
from cotdistill.cli.command import Command
from cotdistill.cli.commands.conditions import entries, parameter_text
from cotdistill.cli.nouns import NOUNS
from cotdistill.cli.renamed import RENAMED

_HEAD = f"""# The terminal

Written by `make docs`; do not edit. Every command is `{PROGRAM} NOUN VERB`; `{PROGRAM} --help` lists all of them,
`--help` after a command shows its options.

- `--json` on any command: exactly one JSON document on stdout (see [json.md](json.md)), progress and logs on stderr.
- Exit codes: 0 success, 1 the work failed, 2 usage error, 130 interrupted.
- The store is one folder: `COTDISTILL_HOME`, else `data/store` of the clone.
- STUDY is a name (the latest study of that name) or a number; RUN is the number of a run, or the start of its identity.

"""

_JSON_HEAD = """# JSON documents

Written by `make docs`; do not edit. What each command prints with `--json`. Keys are a contract: they stay; new ones
may be added.

- A dot goes one level down, `[]` stands for the items of a list.
- An error is `{"error": {"kind", "message", "hint"}}`. Where rows of a file cannot be read, `problems` lists
  all of them (`file`, `line`, `reason`).
- Shares are between 0 and 1, durations are seconds, moments unix time, sizes bytes, unless a key says otherwise. NaN
  becomes null.
"""

_CONDITIONS_HEAD = """# Conditions

Written by `make docs` from the registries; do not edit. A condition is text, the same in the terminal, in a YAML file,
in an address and in the store:

    placement[/transform[(name=value,...)]]...[+objective[(name=value,...)]]...[@source=NAME][,tokens=CONDITION][,fraction=SHARE][,target=naive]

Transforms act from left to right. `source=` takes another teacher's rationales; `tokens=` trains until as many tokens
were seen as under that condition; `fraction=` trains on that share of the training rows, drawn by hash, so that a
smaller share lies within a larger one. `target=naive` tokenises the label apart from the text before it (arXiv
2212.09912); see [tasks.md](tasks.md) for what `lint` says of it. A control stands
beside the claims: foreign or emptied rationales, and arms at equal tokens.
"""


def terminal_page() -> str:
    """docs/cli.md: every command with its options, for people."""
    lines = [_HEAD]
    for noun in NOUNS.values():
        lines += [f"## {noun.name}", "", *([_sentence(noun.help), ""] if noun.verbs else [])]
        lines += [line for command in noun for line in _command(command)]
    lines += [
        "## Earlier names",
        "",
        "An earlier name is refused with the new command line.",
        "",
        "| earlier | now |",
        "| --- | --- |",
    ]
    lines += [f"| `{old}` | `{new.format('...')}` |" for old, new in RENAMED.items()]
    return "\n".join(lines) + "\n"


def _command(command: Command) -> list[str]:
    actions = [action for action in parser_of(command)._actions if action.dest not in ("help", "json")]
    positional = [_shape(action) for action in actions if not action.option_strings]
    options = [action for action in actions if action.option_strings]
    needed = [_shape(action) for action in options if action.required]
    rest = ["[options]"] if len(needed) < len(options) else []
    lines = [f"### `{' '.join([command.words, *positional, *needed, *rest])}`", "", _sentence(command.help), ""]
    if command.example:
        lines += [f"    {PROGRAM} {command.words} {command.example}", ""]
    if command.notes:
        lines += [_notes(command.notes), ""]
    if actions:
        lines += [*(f"- `{_name(action)}`: {_help(action)}" for action in actions), ""]
    return lines


def _notes(text: str) -> str:
    """Notes of --help as Markdown: lines that are indented there are a list here."""
    return "\n".join(f"- {line.strip()}" if line.startswith("  ") else line for line in text.splitlines())


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def json_page() -> str:
    """docs/json.md: the keys of every command's document."""
    lines = [_JSON_HEAD]
    for noun in NOUNS.values():
        for command in noun:
            shape = "An array of objects" if command.listed else "An object"
            lines += [f"## `{command.words}`", "", f"{shape}:", "", "| key | what it is |", "| --- | --- |"]
            lines += [f"| `{key}` | {_cell(help)} |" for key, help in command.documented.items()]
            lines.append("")
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
                    "; ".join(f"`{parameter_text(p)}` {p['help']}" for p in entry["parameters"]),
                    "yes" if entry["control"] else "",
                ]
            if kind == "preset":
                cells.append(f"`{entry['condition']}`")
            lines.append("| " + " | ".join(map(_cell, cells)) + " |")
        lines.append("")
    return "\n".join(lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


PAGES = {"cli.md": terminal_page, "json.md": json_page, "conditions.md": conditions_page}


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
