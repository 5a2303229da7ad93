"""The terminal: `cotdistill NOUN VERB ...` does everything that the pages do.

With --json a command prints exactly one JSON document on stdout, errors as {"error": {"kind", "message", "hint"}};
progress and logs go to stderr. Exit codes: 0, 1 (the work failed), 2 (usage error), 130 (interrupted).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Any, NoReturn

from cotdistill import __version__
from cotdistill.cli.command import Command, Result
from cotdistill.cli.contents import Contents, listed
from cotdistill.cli.nouns import NOUNS
from cotdistill.cli.output import note, printable
from cotdistill.cli.renamed import refuse_old_spelling
from cotdistill.config import plain
from cotdistill.errors import BadRows, CotdistillError, UnknownName, UsageError

PROGRAM = "cotdistill"
# What --help shows first: the way from a fresh clone to a report.
FIRST = ("app start", "tasks import", "preview", "study plan", "study run", "compare", "inspect", "report")
# Options that may stand anywhere.
GLOBAL = ("-h", "--help", "--json", "--version")
# The rest of --help: the nouns under each heading.
HEADINGS = {
    "Tasks and students": ("tasks", "lint", "students", "conditions"),
    "Rationales": ("teacher", "keytokens", "rounds"),
    "Studies and runs": ("study", "runs", "queue"),
    "Look inside": ("inspect",),
    "Store and services": ("store", "mirrors", "worker", "doctor", "app"),
}


class Parser(argparse.ArgumentParser):
    """An argparse parser that raises instead of printing, so that --json can answer for errors too."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message[:1].upper()}{message[1:]}.", f"{self.prog} --help lists the options.")


class _Help(argparse.RawDescriptionHelpFormatter):
    """Help as wide as the terminal, at most 110 columns."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=28, width=min(110, _columns()))


def _columns() -> int:
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns
    except (OSError, ValueError, AttributeError):
        return 110


def parser_of(command: Command) -> Parser:
    """The parser of one command."""
    description = command.help[:1].upper() + command.help[1:] + "." + (f"\n\n{command.notes}" if command.notes else "")
    description += f"\n\nExample: {PROGRAM} {command.words} {command.example}" if command.example else ""
    parser = Parser(
        prog=f"{PROGRAM} {command.words}", description=description, formatter_class=_Help, allow_abbrev=False
    )
    command.arguments(parser)
    parser.add_argument(
        "--json", action="store_true", help="one JSON document on stdout; progress and logs go to stderr"
    )
    return parser


def overview() -> str:
    """The help of the whole program, which imports no command: eight commands first, the rest under headings."""
    known = listed()
    helps = {
        f"{name} {verb}".strip(): help for name, contents in known.items() for verb, help in contents.commands.items()
    }
    first = {words: helps.get(words) or known[words].help for words in FIRST}
    width = max(map(len, helps))
    lines = [
        f"usage: {PROGRAM} COMMAND [options]",
        "",
        "Train small students with rationales under ablations, compare them, look inside.",
        "",
    ]
    lines += [f"  {words.ljust(width)}  {help}" for words, help in first.items()]
    for heading, nouns in HEADINGS.items():
        lines += ["", f"{heading}:", *(line for noun in nouns for line in known[noun].lines(width, FIRST))]
    lines += [
        "",
        "  COMMAND --help shows its options; --json makes any command print one JSON document (docs/json.md).",
        "  --version prints the version. COTDISTILL_HOME is the folder that holds the store.",
    ]
    return "\n".join(lines)


def _find(argv: Sequence[str]) -> tuple[Command, list[str]] | str:
    """The command and its arguments; or the text to print where only help was requested."""
    words = [word for word in argv if not word.startswith("-")]
    asks = any(word in ("-h", "--help") for word in argv)
    if not words:
        if "--version" in argv:
            return __version__
        if asks:
            return overview()
        raise UsageError("No command was given.", f"See {PROGRAM} --help.")
    refuse_old_spelling(PROGRAM, [word for word in argv if word not in GLOBAL])
    if words[0] not in NOUNS:
        # A value is no command: the option before it belongs behind the command, or stands for the folder of the store.
        early = next((word for word in argv[: argv.index(words[0])] if word not in GLOBAL), None)
        if early is not None:
            raise UsageError(
                f"{early.split('=')[0]} stands before the command.",
                f"Options come after it. The folder of the store is set outside: COTDISTILL_HOME=FOLDER {PROGRAM} ...",
            )
        raise UnknownName("command", words[0], NOUNS)
    known = listed()[words[0]]
    rest = list(argv)
    rest.remove(known.noun)
    if not known.verbs:
        return NOUNS[known.noun].command(""), rest
    if len(words) < 2:
        if asks:
            return _noun_help(known)
        raise UsageError(
            f"{known.noun} needs a verb: {', '.join(known.verbs)}.",
            f"For example: {PROGRAM} {known.noun} {known.verbs[0]}",
        )
    noun = NOUNS[known.noun]
    if words[1] not in noun.verbs:
        raise UnknownName(f"verb of {noun.name}", words[1], noun.verbs)
    rest.remove(words[1])
    return noun.command(words[1]), rest


def _noun_help(known: Contents) -> str:
    return "\n".join(
        [
            f"usage: {PROGRAM} {known.noun} VERB [options]",
            "",
            known.help[:1].upper() + known.help[1:] + ".",
            "",
            *known.lines(known.width),
        ]
    )


def _parse(command: Command, words: list[str]) -> argparse.Namespace:
    parser = parser_of(command)
    arguments, unknown = parser.parse_known_args(words)
    if unknown:
        if unknown[0].startswith("-"):
            known = [
                option for action in parser._actions for option in action.option_strings if option.startswith("--")
            ]
            raise UnknownName(f"option of {command.words}", unknown[0].split("=")[0], known)
        noun = "argument" if len(unknown) == 1 else "arguments"
        raise UsageError(f"{command.words}: unexpected {noun} {' '.join(unknown)!r}.", f"See {parser.prog} --help.")
    return arguments


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    as_json = "--json" in words
    out = sys.stdout
    try:
        # What libraries print goes to the logs: stdout holds the answer alone.
        with contextlib.redirect_stdout(sys.stderr):
            call = _find(words)
            if isinstance(call, str):
                result = Result({"help": call}, call)
            elif any(word in ("-h", "--help") for word in words):
                text = parser_of(call[0]).format_help().rstrip()
                result = Result({"help": text}, text)
            else:
                result = call[0].run(_parse(*call))
        _print(out, _json(result.document) if as_json else result.text)
        return result.code
    except CotdistillError as error:
        return _fail(out, error, as_json)
    except KeyboardInterrupt:
        return _fail(
            out, _Interrupted("Interrupted.", f"Training that was started continues: {PROGRAM} runs list"), as_json
        )
    except BrokenPipeError:
        # The reader of stdout has left (`| head`): nothing more to say, and nothing to flush at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), out.fileno())
        return 0
    except Exception as error:
        if os.environ.get("COTDISTILL_DEBUG"):
            traceback.print_exc()
        where = traceback.extract_tb(error.__traceback__)[-1]
        unexpected = _Unexpected(
            f"{type(error).__name__}: {error} ({os.path.basename(where.filename)}, line {where.lineno})",
            "This should not happen: please report it. COTDISTILL_DEBUG=1 shows the traceback.",
        )
        return _fail(out, unexpected, as_json)


class _Interrupted(CotdistillError):
    kind = "interrupted"
    exit_code = 130


class _Unexpected(CotdistillError):
    kind = "unexpected"


def _fail(out: Any, error: CotdistillError, as_json: bool) -> int:
    """An error for a person on stderr, or as a document on stdout; bad rows are all listed."""
    problems = [plain(problem) for problem in error.problems] if isinstance(error, BadRows) else []
    if as_json:
        _print(out, _json({"error": error.as_dict(), **({"problems": problems} if problems else {})}))
        return error.exit_code
    note(printable(error.message))
    for problem in problems[3:]:
        note(f"  {printable(problem['file'])} line {problem['line']}: {printable(problem['reason'])}")
    if error.hint:
        note(printable(error.hint))
    return error.exit_code


def _json(document: Any) -> str:
    return json.dumps(_finite(plain(document)), ensure_ascii=False, indent=2, allow_nan=False, default=_scalar)


def _scalar(value: Any) -> Any:
    """A number of numpy or pandas as Python's own."""
    if hasattr(value, "item"):
        return _finite(value.item())
    raise TypeError(f"{type(value).__name__} cannot stand in JSON")


def _finite(value: Any) -> Any:
    """NaN and infinity have no place in JSON: they become null."""
    if isinstance(value, float) and value - value != 0:
        return None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list) else value


def _print(out: Any, text: str) -> None:
    # A terminal that cannot show a sign shows a question mark instead of failing.
    encoding = getattr(out, "encoding", None) or "utf-8"
    print(text.encode(encoding, "replace").decode(encoding), file=out, flush=True)
