"""Page Findings: the claims with their comparisons, figure, controls and what would change the verdict; presenter mode;
export.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Literal

import streamlit as st

from cotdistill.dashboard import frame
from cotdistill.dashboard.findings import archive
from cotdistill.dashboard.widgets import plans, queue, second_test
from cotdistill.errors import UsageError
from cotdistill.rationales.conditions import parse
from cotdistill.report import captions, export, markup
from cotdistill.report import rivals as rivals_table
from cotdistill.report.commands import command
from cotdistill.report.figures import base
from cotdistill.report.figures.narrow import fitted
from cotdistill.report.markup import escape
from cotdistill.report.tables import Table
from cotdistill.results import results
from cotdistill.results.findings import findings
from cotdistill.results.overview import overview
from cotdistill.results.rivals import rivals
from cotdistill.store.store import Store
from cotdistill.studies.spec import STUDIES
from cotdistill.text import plain_markdown, plural

# Studies side by side; the terminal lists all of them.
MOST = 8
BADGES: dict[str, Literal["green", "red", "gray", "blue"]] = {
    "holds": "green",
    "fails": "red",
    "this seed only": "blue",
}


def draw(store: Store) -> None:
    names = list(dict.fromkeys(study.name for study in store.queue.studies()))
    if not names:
        frame.heading("Findings")
        frame.empty(
            "The three claims, each with its figure, verdict and controls, will stand here",
            "They are judged as soon as a study has finished runs.",
        )
        archive.draw(store, None)
        return
    margin = _margin()
    if frame.presenting():
        name = st.query_params.get("study", names[0])
        _presented(store, findings(store, name if name in names else names[0], margin))
        return
    frame.heading("Findings")
    with st.container(horizontal=True, vertical_alignment="bottom"):
        name = frame.choose("Study", names, key="study", width=320)
        document = findings(store, name, margin)
        st.number_input(
            "Margin of “no worse”, points",
            0.0,
            20.0,
            margin,
            0.5,
            key="margin_points",
            placeholder="from dev",
            width=220,
            on_change=_keep_margin,
            help=(
                "Chosen before the scores are seen. Empty: the smaller of 2 points and half of what intact post-CoT"
                " gains on dev."
            ),
        )
        st.button("Present", icon=":material/slideshow:", on_click=_present, args=(True,))
        _downloads(document)
        archive.draw(store, name)
    st.html(
        f'<p style="opacity:0.72;max-width:62rem">{escape(document["title"])}<br>{escape(export.setting(document))}</p>'
    )
    if document["missing_runs"]:
        st.info(
            f"Provisional: {plural(document['missing_runs'], 'planned run')} still missing.",
            icon=":material/hourglass_top:",
        )
        queue.live(store, short=True)
    if extended := export.extended_told(document):
        st.warning(plain_markdown(extended), icon=":material/visibility:")
    if tuned := export.tuned_told(document):
        st.markdown(plain_markdown(tuned))
    for claim in document["claims"]:
        _claim(store, document, claim)
    frame.section("Every condition")
    st.html(markup.table(*_cells(export.tables(document)[-1])))
    if also := document["also_test"]:
        second_test.draw(also)
    if any(parse(one["id"]).objectives for one in document["conditions"]):
        _rivals(store, name)
    _elsewhere(store, name)
    words = ["compare", name, *(["--margin", f"{margin:g}"] if margin is not None else [])]
    frame.terminal(
        command(*words),
        command("study", "show", name, "--by", "rival"),
        command("report", name, "--out", f"{name}.html"),
        command("study", "list", "--claims"),
    )


def _margin() -> float | None:
    """The margin in the link, in points; one that is none is said to be so."""
    wanted = st.query_params.get("margin")
    try:
        margin = float(wanted) if wanted else None
    except ValueError:
        margin = -1.0
    if margin is not None and not 0 < margin <= 20:
        frame.problem(
            UsageError(
                f"The margin {str(wanted)[:40]!r} in the link is not used.", "Expected points, above 0 and at most 20."
            )
        )
        return None
    return margin


def _keep_margin() -> None:
    value = st.session_state["margin_points"]
    if value:
        st.query_params["margin"] = f"{value:g}"
    else:
        st.query_params.pop("margin", None)


def _claim(store: Store, document: dict[str, Any], claim: dict[str, Any]) -> None:
    with st.container(border=True):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.subheader(plain_markdown(f"{claim['id']}. {claim['title']}"), anchor=False)
            st.badge(claim["word"], color=BADGES.get(claim["word"].removesuffix(" (demonstration)"), "gray"))
        if claim["status"] == "not_run":
            st.markdown(plain_markdown(claim["told"]))
            _asked_by(store, claim)
            return
        figure = export.claim_figure(document, claim)
        if figure is not None:
            frame.chart(figure, f"claim{claim['id']}", claim["told"])
        else:
            st.caption(plain_markdown(claim["told"]))
        lines = (
            (":material/balance:", claim["budget"]),
            (":material/rule:", claim["change"]),
            (":material/compare_arrows:", export.other_loss_told(claim)),
        )
        for icon, text in lines:
            if text:
                st.markdown(f"{icon} {plain_markdown(text)}")
        every = export.tables({**document, "claims": [claim]})[0]
        with st.expander("Every comparison, at equal steps and at equal tokens"):
            st.html(markup.table(*_cells(every)))
            st.caption(plain_markdown(every.caption))
        if claim["controls"]:
            with st.expander("Controls"):
                controls = export.controls_table(claim)
                st.html(markup.table(*_cells(controls)))
                st.caption(plain_markdown(controls.caption))


def _rivals(store: Store, name: str) -> None:
    """What each condition accounts for of the gain, in a study that trains with objectives beyond plain
    cross-entropy.
    """
    document = rivals(store, name)
    frame.section("Rival explanations", "What else brings the gain about, and how much of it?")
    rows = [[markup.TableCell(text) for text in row] for row in rivals_table.cells(document)]
    st.html(markup.table(rivals_table.HEAD, rows, "what each rival accounts for"))
    st.caption(plain_markdown(rivals_table.gain_told(document)))


def _elsewhere(store: Store, name: str) -> None:
    """The claims in the latest studies of the store."""
    studies = overview(store, MOST)
    if len(studies) < 2:
        return
    frame.section(
        "In every study" if len(studies) < MOST else f"In the latest {MOST} studies",
        "The verdict on each claim, and its first comparison with its 95 % interval.",
    )
    head, rows = export.verdict_rows(studies)
    cells = []
    for study, row in zip(studies, rows, strict=True):
        words = [claim["word"] for claim in study["claims"]]
        table_rows = [
            markup.TableCell(text, color=export.COLORS.get(word.removesuffix(" (demonstration)"), ""))
            for word, text in zip(words, row[4:], strict=True)
        ]
        cells.append(
            [
                markup.TableCell(f"{row[0]} (in view)" if row[0] == name else row[0]),
                *(markup.TableCell(text, quiet=True) for text in row[1:4]),
                *table_rows,
            ]
        )
    st.html(markup.table(head, cells, "the claims in several studies"))
    st.caption(
        "Verdicts are Holm-adjusted within a study, over the claims that it planned. Studies that share runs are not"
        " independent of each other."
    )
    st.page_link(
        "pages/3_Compare.py",
        label="Conditions across studies",
        icon=":material/grid_on:",
        query_params=[*frame.carry().items(), ("view", "studies")],
    )


def _asked_by(store: Store, claim: dict[str, Any]) -> None:
    """The way to the study that asks a claim which this one cannot."""
    wanted = str(claim["asked_by"])
    if any(study.name == wanted for study in store.queue.studies()):
        st.page_link(
            "pages/6_Findings.py",
            label=f"See the study {wanted}",
            icon=":material/arrow_forward:",
            query_params={"study": wanted},
        )
        return
    spec = STUDIES.get(wanted).make()
    if st.button(
        f"Run the study {wanted}", icon=":material/play_circle:", key=f"run{claim['id']}", help=STUDIES.get(wanted).help
    ):
        plans.confirm(store, spec)


def _cells(table: Table) -> tuple[tuple[str, ...], list[list[markup.TableCell]], str]:
    return table.columns, [[markup.TableCell(cell) for cell in row] for row in table.rows], table.caption


def _downloads(document: dict[str, Any]) -> None:
    with st.popover("Export", icon=":material/download:"):
        for form, told, kind in (
            ("html", "One HTML page that opens offline", "text/html"),
            ("md", "Markdown", "text/markdown"),
            ("tex", "LaTeX, with booktabs", "application/x-tex"),
            ("csv", "Every condition as CSV", "text/csv"),
        ):
            # Made when it is asked for: the page with its figures is some megabytes.
            st.download_button(
                told,
                partial(export.published, document, form),
                f"{document['name']}.{form}",
                kind,
                key=f"export_{form}",
            )


def _present(on: bool) -> None:
    if on:
        st.query_params["present"] = st.query_params.get("present", "0")
    else:
        st.query_params.pop("present", None)


def _go(place: int) -> None:
    st.query_params["present"] = str(place)


def _presented(store: Store, document: dict[str, Any]) -> None:
    """The overview, then one claim a screen, large, with the arrow keys; the link keeps the screen."""
    last = len(document["claims"])
    wanted = st.query_params.get("present", "0")
    at = min(int(wanted), last) if wanted.isdecimal() else 0
    if at:
        _claim_slide(document, document["claims"][at - 1], at)
    else:
        _overview_slide(store, document)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button(
            "Previous", icon=":material/arrow_back:", shortcut="Left", on_click=_go, args=(at - 1,), disabled=at == 0
        )
        st.caption(f"{at + 1} of {last + 1}")
        st.button(
            "Next", icon=":material/arrow_forward:", shortcut="Right", on_click=_go, args=(at + 1,), disabled=at == last
        )
        st.button("End", icon=":material/close:", shortcut="Esc", on_click=_present, args=(False,))


def _overview_slide(store: Store, document: dict[str, Any]) -> None:
    """Every condition in one figure, and what it says of each claim in a word."""
    verdicts = "".join(
        f'<li>{escape(claim["title"])}: <b style="color:{export.word_color(claim["word"])}">{escape(claim["word"])}'
        "</b></li>"
        for claim in document["claims"]
    )
    st.html(
        f'<div style="font-size:2.2rem;font-weight:650;line-height:1.2">{escape(document["title"] or document["name"])}'
        f'</div><ol style="font-size:1.3rem;line-height:1.5">{verdicts}</ol>'
    )
    summaries = results.summary(store, int(document["id"]))
    if rows := captions.accuracy_rows(summaries):
        chance = results.chance_of(summaries)
        figure = base.accuracy(rows, chance, captions.accuracy_title(rows, chance))
        figure.update_layout(height=150 + 44 * len(rows), font_size=18, title_font_size=22)
        _slide_figure(figure, "present0", margin_r=130)
    st.html(f'<div style="font-size:1rem;opacity:0.65">{escape(export.setting(document))}.</div>')


def _claim_slide(document: dict[str, Any], claim: dict[str, Any], at: int) -> None:
    """A claim with its word, its figure, and what stands neither in the title nor in the figure, each thing once."""
    color = export.word_color(claim["word"])
    st.html(
        f'<div style="font-size:1.15rem;opacity:0.65">{escape(document["title"])}</div><div'
        ' style="font-size:2.6rem;'
        f'font-weight:650;line-height:1.2;margin-top:0.6rem">{escape(claim["title"])}</div><div'
        f' style="font-size:2.2rem;font-weight:650;color:{color};margin:0.4rem 0 0.8rem">{escape(claim["word"])}</div>'
    )
    figure = export.claim_figure(document, claim)
    if figure is not None:
        figure.update_layout(height=150 + 74 * len(claim["comparisons"]), font_size=20, title_text="", margin_t=10)
        _slide_figure(figure, f"present{at}", margin_r=330)
    n = (
        export.tables({**document, "claims": [claim]})[0]
        .caption.partition("Verdict:")[2]
        .partition(". ")[2]
        .removesuffix(export.P_TOLD)
    )
    st.html(
        f'<div style="font-size:1.25rem;max-width:70rem">{escape(export.slide_text(claim, figure is not None))}</div>'
        f'<div style="font-size:1rem;opacity:0.65;margin-top:0.8rem">{escape(n)} {escape(export.setting(document))}.'
        "</div>"
    )


def _slide_figure(figure: Any, key: str, margin_r: int) -> None:
    figure.update_layout(margin_r=margin_r)
    figure.update_yaxes(tickfont_size=20)
    figure.update_xaxes(tickfont_size=16, title_font_size=18)
    figure.update_annotations(font_size=20)
    drawn = fitted(figure, frame.room()) if frame.room() else figure
    st.plotly_chart(drawn, key=key, config={"displaylogo": False, "displayModeBar": False})
