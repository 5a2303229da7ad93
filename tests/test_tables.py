"""Tables as CSV, Markdown, LaTeX and HTML, with text that means something to each of them."""

import csv
import io
import shutil
import subprocess

import pytest

from cotdistill.report.tables import Table, as_csv, as_html, as_latex, as_markdown, latex, latex_document, markdown

NASTY = (
    "=1+1",
    "50 % of A_b & {c} ^ ~ $x$ #1 \\end{tabular}",
    "<b>bold</b> | pipe `code` *star*",
    "−3.2 – “quoted” × é ü ç 中文 🎉",
    "a\nb\t c",
)
TABLE = Table(
    ("condition", "accuracy"),
    tuple((text, "72.3 %") for text in NASTY),
    "Caption with 5 % & more_",
    right=("accuracy",),
)


def test_a_csv_starts_no_formula_and_reads_back():
    rows = list(csv.reader(io.StringIO(as_csv(TABLE))))
    assert rows[0] == ["condition", "accuracy"] and rows[1] == ["'=1+1", "72.3 %"]
    assert [row[0] for row in rows[2:]] == list(NASTY[1:])


def test_markdown_has_one_line_a_row_and_no_markup_from_the_data():
    lines = as_markdown(TABLE).splitlines()
    assert lines[:2] == ["| condition | accuracy |", "| --- | ---: |"]
    assert len(lines) == 2 + len(NASTY) + 2
    assert lines[4] == r"| \<b>bold\</b> \| pipe \`code\` \*star\* | 72.3 % |"
    assert markdown("a\nb") == "a b"
    # What means nothing stands as it is.
    plain = "+4.2 (−18.5 to 27.6), p < .01; post_cot/shuffle(unit=token) #1 {x} & y!"
    assert markdown(plain) == plain
    assert [markdown(text) for text in ("# one", "- two", "3. four", "_so_", "&lt;", "> q")] == [
        "\\# one", "\\- two", "3\\. four", "\\_so\\_", "\\&lt;", "\\> q",
    ]  # fmt: skip


def test_latex_escapes_every_special():
    assert latex("50 % of A_b & {c} ^ ~ $x$ #1 \\end") == (
        r"50 \% of A\_b \& \{c\} \textasciicircum{} \textasciitilde{} \$x\$ \#1 \textbackslash{}end"
    )
    assert latex("−3 “q” é ç 中") == "$-$3 ``q'' \\'{e} \\c{c} \\texttt{U+4E2D}"
    assert r"\begin{tabular}{lr}" in as_latex(TABLE) and as_latex(TABLE).count(r"\end{tabular}") == 1


def booktabs():
    return (
        shutil.which("pdflatex")
        and subprocess.run(["kpsewhich", "booktabs.sty"], capture_output=True, timeout=60).stdout
    )


@pytest.mark.skipif(not booktabs(), reason="pdflatex with booktabs is not installed")
def test_the_latex_compiles(tmp_path):
    (tmp_path / "t.tex").write_text(latex_document([TABLE], "A & B_1"), encoding="utf-8")
    done = subprocess.run(
        ["pdflatex", "-halt-on-error", "-interaction=nonstopmode", "t.tex"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout[-2000:]
    assert (tmp_path / "t.pdf").stat().st_size > 1000


def test_html_shows_markup_as_text():
    told = as_html(TABLE)
    assert "<b>" not in told and "&lt;b&gt;bold&lt;/b&gt;" in told and told.count("<tr>") == 1 + len(NASTY)
