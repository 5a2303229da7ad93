"""A study's findings as files for others: one HTML page that opens offline, Markdown, LaTeX, CSV. All from the document
of studies.findings.
"""

from __future__ import annotations

import json
import re
from typing import Any

from cotdistill import __version__
from cotdistill.report.also_test import also_table, title
from cotdistill.report.figures import base
from cotdistill.report.figures.palette import BAD, GOOD, OPEN
from cotdistill.report.markup import escape
from cotdistill.report.tables import Table, as_csv, as_html, as_markdown, latex_document, markdown
from cotdistill.statistics.verdicts import BETTER_HERE, NO_WORSE_HERE, WORSE_HERE
from cotdistill.text import between, between_points, capital, p_value, percent, plural, points

# What the column p of a claim's table says.
P_TOLD = "p: one-sided in the direction of the claim, doubled, so that p < .05 says the same as the 95 % interval."
FORMS = ("html", "md", "tex", "csv")
COLORS = {"holds": GOOD, "fails": BAD}


def word_color(said: str) -> str:
    """The colour of a claim's word: that of its verdict, also for a demonstration; no verdict's for what holds in one
    seed only.
    """
    return COLORS.get(said.removesuffix(" (demonstration)"), OPEN)


_STYLE = """
:root { color-scheme: light dark; --ink: #1f2328; --ground: #ffffff; --quiet: #5b6168; --rule: #d5d9dd; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e8ea; --ground: #14171a; --quiet: #a3a9af; --rule: #3a3f45; } }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--ground); max-width: 62rem;
margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.7rem; margin-bottom: .2rem; } h2 { font-size: 1.25rem; margin-top: 2.4rem; }
.quiet, caption { color: var(--quiet); font-size: .9rem; } caption { caption-side: bottom; text-align: left;
padding-top: .4rem; }
table { border-collapse: collapse; width: 100%; font-size: .92rem; font-variant-numeric: tabular-nums; margin: 1rem 0; }
th, td { text-align: left; padding: .3rem .8rem .3rem 0; border-top: 1px solid var(--rule); vertical-align: baseline;
} thead th { border-top: 0; }
.right { text-align: right; } .word { font-weight: 650; } .figure { margin: 1rem 0; overflow-x: auto; }
"""


def published(document: dict[str, Any], form: str) -> str:
    """The findings in one of FORMS."""
    if form == "html":
        return html_page(document)
    every = tables(document)
    if form == "csv":
        return as_csv(every[-1])
    if form == "tex":
        every += [also_table(document["also_test"])] if document["also_test"] else []
        return latex_document(every, str(document["title"] or document["name"]))
    return _markdown(document, every)


def setting(document: dict[str, Any]) -> str:
    """Task, student, sizes in a line; an artificial task is called so."""
    parts = [
        f"task {document['task']}{' (artificial)' if document['artificial'] else ''}",
        f"student {document['student']}",
    ]
    origin = f"answers of other code ({document['answers']})" if document["answers"] else f"{document['steps']:,} steps"
    parts += [origin, plural(document["replicates"], "replicate")]
    if document["worlds"]:
        parts.append(plural(document["worlds"], "artificial world"))
    if document["test_is"]:
        parts.append(f"test: {document['test_is']}")
    if document["imported_runs"]:
        parts.append(
            f"{plural(document['imported_runs'], 'run')} imported"
            f" ({str(document['origin'] or 'by another study')[:16]})"
        )
    return "; ".join(parts)


def extended_told(document: dict[str, Any]) -> str:
    """That replicates were added once results had been seen; empty if not."""
    if not document["extended"]:
        return ""
    before = document["extended"]
    if before["runs"] is None:
        return (
            f"Extended after looking: {plural(before['replicates'], 'replicate')} had been run, and could be seen, "
            f"when {document['replicates']} were planned."
        )
    return (
        f"Extended after looking: {before['runs']} of its {plural(before['of'], 'run')} had ended in study"
        f" {before['name']} (number {before['id']}), and could be seen, when this one was planned."
    )


def tuned_told(document: dict[str, Any]) -> str:
    """The settings that conditions have of their own, and the verdicts at the shared setting; empty for an untuned
    study.
    """
    tuned = document["tuned"]
    if tuned is None:
        return ""
    labels = {one["id"]: one["label"] for one in document["conditions"]}
    each = "; ".join(
        f"{labels.get(name, name)} {', '.join(f'{key} {value}' for key, value in settings.items())}"
        for name, settings in tuned["settings"].items()
    )
    beside = "The same study at the shared setting has not been run."
    if tuned["shared"]:
        words = "; ".join(f"claim {one['id']} {one['word']}" for one in tuned["claims"])
        beside = f"At the shared setting (study {tuned['shared']}): {words}."
    return (
        f"Each condition at its own best setting on dev, chosen with pilot replicates outside the claims: {each}."
        f" {beside}"
    )


def other_loss_told(claim: dict[str, Any]) -> str:
    """What the claim comes to under the other loss, or how to ask; empty where it has no twin to be asked in."""
    other = claim["other_loss"]
    if not other or claim["status"] == "not_run":
        return ""
    if other["study"] is None:
        return f"Not asked under the {other['loss'].replace('_', '-')} loss: cotdistill {other['command']}"
    return (
        f"Under the {other['loss'].replace('_', '-')} loss (study {other['study']}): {other['word']}. {other['told']}"
    )


def verdict_rows(studies: list[dict[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """The claims in every study, one row a study: head and cells."""
    head = ["study", "task", "student", "runs", *(f"claim {number}" for number in "123")]
    rows = []
    for study in studies:
        cells = [study["name"], study["task"] + (" (artificial)" if study["artificial"] else ""), study["student"]]
        rows.append(
            [*cells, f"{study['finished']} of {study['planned']}", *(_verdict(claim) for claim in study["claims"])]
        )
    return head, rows


def _verdict(claim: dict[str, Any]) -> str:
    if claim["points"] is None:
        return str(claim["word"])
    low, high = (None if v is None else v / 100 for v in (claim["low"], claim["high"]))
    return f"{claim['word']}: {points(claim['points'] / 100)} ({between_points(low, high)}) on {claim['second']}"


def figures_page(drawn: list[tuple[Any, str]], title: str) -> str:
    """Figures with their captions as one HTML page that opens offline; each can be saved as SVG from its own menu."""
    parts = [f"<h1>{escape(title)}</h1>", f'<p class="quiet">cotdistill {escape(__version__)}</p>']
    for place, (figure, caption) in enumerate(drawn):
        parts.append(
            f'<div class="figure">{_drawn(figure, first=place == 0, bar=True)}</div><p'
            f' class="quiet">{escape(caption)}</p>'
        )
    return _page(title, "".join(parts))


def tables(document: dict[str, Any]) -> list[Table]:
    """One table a claim, and one of all conditions."""
    table_list = []
    for claim in document["claims"]:
        rows = [_compared(c, "equal steps") for c in claim["comparisons"]] + [
            _compared(c, "equal tokens") for c in claim["at_tokens"]
        ]
        caption = f"Claim {claim['id']}: {claim['title']}. Verdict: {claim['word']}."
        caption += f" {_n(claim['comparisons'])} {P_TOLD}".replace("  ", " ")
        table_list.append(
            Table(
                ("comparison", "at", "points", "95 % interval", "p", "word"),
                tuple(rows),
                caption.strip(),
                right=("points", "p"),
            )
        )
    rows = [
        (
            c["label"],
            f"{c['finished']} of {c['planned']}",
            percent(c["accuracy"]),
            between(c["low"], c["high"]) if c["accuracy"] is not None else "–",
        )
        for c in sorted(document["conditions"], key=lambda c: -(c["accuracy"] if c["accuracy"] is not None else -1.0))
    ]
    first = next((c for c in document["conditions"] if c["items"]), None)
    caption = (
        f"Accuracy on test. {first['items']:,} questions in {first['clusters']:,} clusters; {first['speaks_of']}."
        if first
        else "Accuracy on test."
    )
    table_list.append(
        Table(("condition", "runs", "accuracy", "95 % interval"), tuple(rows), caption, right=("accuracy",))
    )
    return table_list


def _compared(c: dict[str, Any], at: str) -> tuple[str, ...]:
    kind = "no worse than" if c["kind"] == "no worse" else "better than"
    name = f"{c['first_label']} {kind} {c['second_label']}" + (
        f" (margin {c['margin']:.1f})" if c["margin"] is not None else ""
    )
    if c["points"] is None:
        return (
            name,
            at,
            "–",
            "–",
            "–",
            {"not_run": "not run", "provisional": "provisional"}.get(c["status"], "cannot be asked here"),
        )
    low, high = (None if v is None else v / 100 for v in (c["low"], c["high"]))
    return (name, at, points(c["points"] / 100), between_points(low, high), p_value(c["p"]), str(c["word"] or "–"))


def _n(comparisons: list[dict[str, Any]]) -> str:
    done = [c for c in comparisons if c["items"]]
    if not done:
        return ""
    c = done[0]
    return (
        f"{c['items']:,} questions, {c['clusters']:,} clusters, {plural(c['replicates'], 'replicate')}; {c['method']},"
        f" {c['speaks_of']}."
    )


def _markdown(document: dict[str, Any], every: list[Table]) -> str:
    lines = [f"# {markdown(str(document['title'] or document['name']))}", "", markdown(setting(document)), ""]
    lines += [f"**{markdown(extended)}**", ""] if (extended := extended_told(document)) else []
    lines += [markdown(tuned), ""] if (tuned := tuned_told(document)) else []
    for claim, one in zip(document["claims"], every, strict=False):
        lines += [
            f"## {claim['id']}. {markdown(claim['title'])}: **{markdown(claim['word'])}**",
            "",
            markdown(claim["told"]),
            "",
        ]
        lines += [markdown(text) + "\n" for text in (claim["budget"], claim["change"], other_loss_told(claim)) if text]
        lines += [as_markdown(one)]
    lines += ["## Every condition", "", as_markdown(every[-1])]
    if also := document["also_test"]:
        lines += [f"## {markdown(title(also))}", "", as_markdown(also_table(also))]
    return "\n".join(lines)


def claim_figure(document: dict[str, Any], claim: dict[str, Any]) -> Any:
    """The comparisons of a claim as a forest plot; None where none has a number yet."""
    rows = []
    for c in claim["comparisons"]:
        if c["points"] is not None:
            low, high = (None if v is None else v / 100 for v in (c["low"], c["high"]))
            said = str(c["word"] or "")
            rows.append(
                base.ForestRow(
                    c["second"],
                    f"against {c['second_label']}",
                    c["points"] / 100,
                    low,
                    high,
                    said,
                    base.verdict_color(said),
                )
            )
    if not rows:
        return None
    first = claim["comparisons"][0]["first_label"]
    figure = base.forest(rows, "the other condition", claim_title(claim))
    figure.update_xaxes(title_text=f"points of accuracy, {first} minus the other")
    return figure


def slide_text(claim: dict[str, Any], drawn: bool) -> str:
    """What a slide says below its figure, each sentence once. drawn: whether a figure shows the comparisons; the
    numbers of a claim that is judged are then not said again."""
    texts = [claim["budget"], claim["change"]]
    if not drawn or claim["p"] is None:
        texts.insert(0, claim["told"])
    sentences = [sentence for text in texts if text for sentence in re.split(r"(?<=[.]) ", text)]
    return " ".join(dict.fromkeys(sentences))


def claim_title(claim: dict[str, Any]) -> str:
    """What the figure of a claim shows, in a sentence; never more than the words of its comparisons allow."""
    parts = []
    for c in claim["comparisons"]:
        if c["points"] is None:
            continue
        size, other = f"{abs(c['points']):.1f}", c["second_label"]
        parts.append(
            {
                "better": f"beats {other} by {size}",
                "worse": f"falls {size} short of {other}",
                "no worse": f"is no worse than {other}",
                BETTER_HERE: f"beats {other} by {size} in this seed",
                WORSE_HERE: f"falls {size} short of {other} in this seed",
                NO_WORSE_HERE: f"is no worse than {other} in this seed",
                "not distinguishable": f"is not distinguishable from {other}",
            }.get(str(c["word"]), f"stands {points(c['points'] / 100)} from {other}")
        )
    first = capital(str(claim["comparisons"][0]["first_label"]))
    return f"{first} {', '.join(parts[:-1])}{' and ' if len(parts) > 1 else ''}{parts[-1]}" if parts else first


def html_page(document: dict[str, Any]) -> str:
    """One page with everything in it: nothing is fetched, and it draws with no network."""
    every = tables(document)
    parts = [
        f"<h1>{escape(document['title'] or document['name'])}</h1>",
        (
            f'<p class="quiet">{escape(setting(document))}. Plan {escape(str(document["plan_hash"])[:12])}, cotdistill'
            f" {escape(__version__)}.</p>"
        ),
    ]
    if document["missing_runs"]:
        parts.append(
            f"<p><strong>Provisional:</strong> {escape(plural(document['missing_runs'], 'planned run'))} still"
            " missing.</p>"
        )
    if extended := extended_told(document):
        parts.append(f"<p><strong>{escape(extended)}</strong></p>")
    if tuned := tuned_told(document):
        parts.append(f"<p>{escape(tuned)}</p>")
    drawn = 0
    for claim, one in zip(document["claims"], every, strict=False):
        color = word_color(claim["word"])
        parts.append(
            f'<h2>{escape(claim["id"])}. {escape(claim["title"])}: <span class="word"'
            f' style="color:{color}">{escape(claim["word"])}</span></h2>'
        )
        parts += [
            f"<p>{escape(text)}</p>"
            for text in (claim["told"], claim["budget"], claim["change"], other_loss_told(claim))
            if text
        ]
        figure = claim_figure(document, claim)
        if figure is not None:
            parts.append(f'<div class="figure">{_drawn(figure, first=drawn == 0, bar=True)}</div>')
            drawn += 1
        parts.append(as_html(one))
        if claim["controls"]:
            parts.append(as_html(controls_table(claim)))
    parts += ["<h2>Every condition</h2>", as_html(every[-1])]
    if also := document["also_test"]:
        parts += [f"<h2>{escape(title(also))}</h2>", as_html(also_table(also))]
    # The document itself, as data that nothing runs, for those who want the numbers.
    data = json.dumps(document, ensure_ascii=False, allow_nan=False).replace("<", "\\u003c")
    body = f'{"".join(parts)}\n<script type="application/json" id="findings">{data}</script>'
    return _page(str(document["title"] or document["name"]), body)


def _page(title: str, body: str) -> str:
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><meta name="viewport"'
        ' content="width=device-width,'
        f' initial-scale=1"><title>{escape(title)}</title><style>{_STYLE}</style></head>\n<body>{body}</body></html>\n'
    )


def controls_table(claim: dict[str, Any]) -> Table:
    """What stands beside a claim, each against label only; exploratory."""
    rows = []
    for c in claim["controls"]:
        low, high = (None if v is None else v / 100 for v in (c["points_low"], c["points_high"]))
        against = points(c["points"] / 100) if c["points"] is not None else "–"
        rows.append(
            (
                c["label"],
                c["why"],
                percent(c["accuracy"]),
                against,
                between_points(low, high) if c["points"] is not None else "–",
            )
        )
    caption = "Controls; differences to label only, exploratory: intervals, and no verdict of their own."
    return Table(
        ("control", "why it is here", "accuracy", "points", "95 % interval"),
        tuple(rows),
        caption,
        right=("accuracy", "points"),
    )


def _drawn(figure: Any, *, first: bool, bar: bool = False) -> str:
    """A figure as a piece of HTML; the library comes with the first one, inside the page. bar: with the menu that saves
    it.
    """
    ink = "#7a8087"
    figure.update_layout(font_color=ink, title_font_color=ink)
    config = {
        "displaylogo": False,
        "displayModeBar": "hover" if bar else False,
        "responsive": True,
        "toImageButtonOptions": {"format": "svg"},
    }
    html: str = figure.to_html(full_html=False, include_plotlyjs=first, config=config)
    return html
