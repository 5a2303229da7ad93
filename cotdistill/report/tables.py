"""Tables for papers and spreadsheets: CSV, Markdown, LaTeX (booktabs) and plain HTML. No Streamlit, no Plotly."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from cotdistill.report.captions import csv_text
from cotdistill.report.markup import escape

_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "−": "$-$",
    "–": "--",
    "—": "---",
    "×": r"$\times$",
    "“": "``",
    "”": "''",
    "‘": "`",
    "’": "'",
    "…": r"\ldots{}",
    "·": r"$\cdot$",
    "±": r"$\pm$",
    '"': r"\textquotedbl{}",
}
# What Markdown reads as markup: signs anywhere, an underscore outside a word, a tag or an entity, and a line that
# begins a heading, list or quote.
_MARKUP = re.compile(r"[\\`*\[\]|~$]|(?<!\w)_|_(?!\w)|<(?=[A-Za-z/!?])|&(?=#?\w+;)|^(?:#+|[-+>]|\d+[.)])(?=\s|$)")


@dataclass(frozen=True)
class Table:
    """A table with a caption; the columns in `right` are numbers, aligned to the right."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    caption: str
    right: tuple[str, ...] = ()


def as_csv(table: Table) -> str:
    """Safe to open in a spreadsheet: text that would start a formula gets an apostrophe in front."""
    return csv_text(table.columns, table.rows)


def as_markdown(table: Table) -> str:
    """A pipe table with its caption below."""

    def line(cells: Sequence[str]) -> str:
        return f"| {' | '.join(markdown(cell) for cell in cells)} |"

    rule = f"| {' | '.join('---:' if name in table.right else '---' for name in table.columns)} |"
    return "\n".join([line(table.columns), rule, *(line(row) for row in table.rows), "", markdown(table.caption), ""])


def markdown(text: str) -> str:
    """Text as it stands, on one line, in any Markdown."""
    return _MARKUP.sub(lambda sign: f"{sign[0][:-1]}\\{sign[0][-1]}", " ".join(text.split()))


def as_latex(table: Table) -> str:
    """A table environment for booktabs; compiles with pdflatex, whatever the text holds."""
    columns = "".join("r" if name in table.right else "l" for name in table.columns)
    head = " & ".join(latex(name) for name in table.columns)
    body = "\n".join(f"{' & '.join(latex(cell) for cell in row)} \\\\" for row in table.rows)
    return (
        f"\\begin{{table}}\n\\centering\n\\small\n\\begin{{tabular}}{{{columns}}}\n\\toprule\n{head}"
        f" \\\\\n\\midrule\n{body}\n\\bottomrule\n"
        f"\\end{{tabular}}\n\\caption{{{latex(table.caption)}}}\n\\end{{table}}\n"
    )


def latex_document(tables: Sequence[Table], title: str) -> str:
    """A whole document around tables, to be compiled or copied from."""
    inside = "\n".join(as_latex(table) for table in tables)
    return (
        "\\documentclass{article}\n\\usepackage[T1]{fontenc}\n\\usepackage[utf8]{inputenc}\n\\usepackage{textcomp}\n\\usepackage{booktabs}\n"
        f"\\begin{{document}}\n\\section*{{{latex(title)}}}\n{inside}\\end{{document}}\n"
    )


def latex(text: str) -> str:
    """Text with every special of LaTeX escaped, on one line; signs that pdflatex does not know are told by their code
    point.
    """
    return "".join(_sign(char) for char in " ".join(text.split()))


def _sign(char: str) -> str:
    if char in _LATEX:
        return _LATEX[char]
    if char == " " or (char.isascii() and char.isprintable()):
        return char
    plain = unicodedata.normalize("NFD", char)
    if plain[0].isascii() and plain[0].isalpha() and len(plain) == 2 and plain[1] in _ACCENTS:
        return f"\\{_ACCENTS[plain[1]]}{{{plain[0]}}}"
    return f"\\texttt{{U+{ord(char):04X}}}"


_ACCENTS = {
    "\u0300": "`",
    "\u0301": "'",
    "\u0302": "^",
    "\u0303": "~",
    "\u0308": '"',
    "\u030a": "r",
    "\u0327": "c",
    "\u030c": "v",
}


def as_html(table: Table) -> str:
    """A plain table with its caption, for a page of its own."""
    head = "".join(f'<th scope="col"{_side(table, name)}>{escape(name)}</th>' for name in table.columns)
    sides = [_side(table, name) for name in table.columns]
    cells = (
        "".join(f"<td{side}>{escape(cell)}</td>" for side, cell in zip(sides, row, strict=True)) for row in table.rows
    )
    rows = "".join(f"<tr>{row}</tr>" for row in cells)
    return (
        f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody><caption>{escape(table.caption)}</caption></table>"
    )


def _side(table: Table, name: str) -> str:
    return ' class="right"' if name in table.right else ""
