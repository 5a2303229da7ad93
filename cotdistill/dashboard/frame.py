"""What every page has in common: page set-up, sidebar, the store, errors in words, and the state that lives in the
URL.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Literal

import streamlit as st

from cotdistill import __version__
from cotdistill.dashboard.access import admitted
from cotdistill.errors import BadRows, CotdistillError
from cotdistill.report.export import figures_page
from cotdistill.report.figures.narrow import fitted
from cotdistill.report.figures.terms import Term, terms_of
from cotdistill.report.markup import escape
from cotdistill.store.store import Store
from cotdistill.text import plain_markdown

LOG = logging.getLogger(__name__)

PAGES = (
    ("app.py", "Home", ":material/home:"),
    ("pages/1_Data.py", "Data", ":material/dataset:"),
    ("pages/2_Train.py", "Train", ":material/model_training:"),
    ("pages/3_Compare.py", "Compare", ":material/leaderboard:"),
    ("pages/4_Saliency.py", "Saliency", ":material/ink_highlighter:"),
    ("pages/5_Key_tokens.py", "Key tokens", ":material/key:"),
    ("pages/6_Findings.py", "Findings", ":material/gavel:"),
    ("pages/7_How_to_read_this.py", "How to read this", ":material/menu_book:"),
)

# Two marks with their intervals. Drawn here: a named icon would be fetched from a font service on every visit.
ICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 24 24"><path d="M3 8h18M3 16h12" stroke="#1B7FC2"'
    ' stroke-width="2"/><circle cx="14" cy="8" r="4" fill="#1B7FC2"/><circle cx="8" cy="16" r="4"'
    ' fill="#D55E00"/></svg>'
)

# What a link between pages takes along: the study and the task a person is looking at.
CARRIED = ("study", "task")
# In the session: the figures of the page that is drawn, with their captions; and how a figure is saved.
DRAWN = "drawn figures"
FORMS = ("svg", "png")
# Where a task can be looked at without a study, that stands in the study's place in the link.
NO_STUDY = "task "


def page(title: str, draw: Callable[[Store], None]) -> None:
    """Set the page up, open the store and draw; a failure is told in words, with what to do."""
    page_setup(title)
    if not admitted():
        return
    st.session_state[DRAWN] = []
    with told_errors():
        draw(Store.open())
        _saving(title)


@contextmanager
def told_errors() -> Iterator[None]:
    """Whatever goes wrong inside is told on the page. What nobody foresaw is written to the dashboard's own log, with
    its trace.
    """
    try:
        yield
    except CotdistillError as error:
        problem(error)
    except Exception as error:
        LOG.exception("a page could not be drawn")
        st.error(
            f"Something went wrong while this page was drawn ({plain_markdown(f'{type(error).__name__}: {error}')}).",
            icon=":material/error:",
        )
        st.caption(
            "What to do: reload the page. Training is not touched by this. The full trace is in the terminal where the"
            " dashboard was started."
        )


# Tells how wide the page's column is, in steps of 50 pixels, where it is narrower than the figures are drawn for.
ROOM = """
export default function ({ data, setStateValue }) {
  const page = document.querySelector('[data-testid="stMainBlockContainer"]')
  if (!page) return
  let last = data.room
  const tell = () => {
    const style = getComputedStyle(page)
    const inner = page.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight)
    const room = inner < data.wide ? Math.floor(inner / 50) * 50 : 0
    if (room !== last) { last = room; setStateValue("room", room) }
  }
  const watched = new ResizeObserver(tell)
  watched.observe(page)
  return () => watched.disconnect()
}
"""
WIDE = 850
_measure = st.components.v2.component("cotdistill_room", js=ROOM)


def room() -> int:
    """Pixels for a figure that is as wide as the page, on a narrow window; 0 on a wide one."""
    return int(st.session_state.get("room") or 0)


def _measured() -> None:
    """Ask the browser how wide the page is. The first answer draws a page with figures once more."""
    result = _measure(key="page_room", data={"room": room(), "wide": WIDE}, on_room_change=lambda: None, height=1)
    st.session_state["room"] = int(result.get("room") or 0)


def presenting() -> bool:
    """Whether the link asks for one claim a screen, without menus."""
    return "present" in st.query_params


def page_setup(title: str) -> None:
    """The first call of every page: browser title, wide layout, and the sidebar with links that keep study and task
    (none while presenting; on a narrow screen it is folded away, so that it does not cover the page).
    """
    state: Literal["collapsed", "auto"] = "collapsed" if presenting() else "auto"
    st.set_page_config(page_title=f"{title} · cotdistill", page_icon=ICON, layout="wide", initial_sidebar_state=state)
    _measured()
    if presenting():
        return
    carried = carry()
    with st.sidebar:
        st.markdown("**cotdistill**")
        for path, name, icon in PAGES:
            st.page_link(path, label=name, icon=icon, query_params=carried)
        st.space("small")
        st.caption(f"version {__version__}")


def carry(**more: str) -> dict[str, str]:
    """Query parameters for a link to another page."""
    carried = {name: st.query_params[name] for name in CARRIED if name in st.query_params}
    if carried.get("study", "").startswith(NO_STUDY):
        carried["task"] = carried.pop("study").removeprefix(NO_STUDY)
    return carried | more


def problem(error: CotdistillError) -> None:
    """An error as a person needs it: what was given and expected, what to do, and the rows it speaks of."""
    st.error(plain_markdown(error.message), icon=":material/error:")
    if error.hint:
        st.caption(f"What to do: {plain_markdown(error.hint)}")
    if isinstance(error, BadRows):
        bad_rows([{"file": p.file, "line": p.line, "reason": p.reason} for p in error.problems])


def bad_rows(rows: list[dict[str, Any]]) -> None:
    """Rows of a file that cannot be used, each with its line and reason."""
    st.dataframe(
        rows, hide_index=True, column_config={"line": st.column_config.NumberColumn(format="%d", width="small")}
    )


def terminal(*commands: str, label: str = "The same in the terminal") -> None:
    """The command that does what the page just showed or would do."""
    with st.expander(label, icon=":material/terminal:", type="compact"):
        for one in commands:
            st.code(one, language="bash", wrap_lines=True)


def empty(title: str, text: str) -> None:
    """Nothing to show yet: what will stand here, and the way to the button that brings it."""
    with st.container(border=True):
        st.markdown(f"**{plain_markdown(title)}**")
        st.markdown(plain_markdown(text))
        st.page_link("app.py", label="Home: run the starter study", icon=":material/play_circle:", query_params=carry())


def heading(text: str, caption: str = "") -> None:
    """The head of a page; the text may come from data."""
    st.title(plain_markdown(text), anchor=False)
    if caption:
        st.html(f'<p style="opacity:0.72;margin:-0.6rem 0 0.6rem 0;max-width:62rem">{escape(caption)}</p>')


def section(text: str, caption: str = "") -> None:
    st.subheader(plain_markdown(text), anchor=False)
    if caption:
        st.caption(plain_markdown(caption))


def chart(figure: Any, key: str, caption: str = "") -> None:
    """A Plotly figure with the tools that help and without those that do not, and its caption: n, replicates, kind of
    interval.
    """
    form = st.session_state.get("figure_form", FORMS[0])
    save = {"format": form, "filename": f"cotdistill-{key}", "scale": 1 if form == "svg" else 3}
    hidden = ["lasso2d", "select2d", "autoScale2d"]
    drawn = fitted(figure, room()) if room() else figure
    st.plotly_chart(
        drawn, key=key, config={"displaylogo": False, "modeBarButtonsToRemove": hidden, "toImageButtonOptions": save}
    )
    terms = () if presenting() else terms_of(key)
    if caption or terms:
        st.caption(plain_markdown(caption or "How to read this figure"), help=_definitions(terms))
    st.session_state.setdefault(DRAWN, []).append((figure, caption))


def _definitions(terms: Sequence[Term]) -> str | None:
    """What the ? beside a figure shows; None without terms. The link is relative, so it works behind a proxy's path."""
    return "\n\n".join([*map(definition, terms), "[All terms](How_to_read_this)"]) if terms else None


def definition(term: Term, more: str = "") -> str:
    """A term, what it means and a further sentence, as Markdown."""
    return f"**{plain_markdown(term.name)}**: {plain_markdown(f'{term.text} {more}')}"


def _saving(title: str) -> None:
    """How the figures of this page are saved: each by the camera in its own menu, or all of them as one page."""
    drawn = list(st.session_state.get(DRAWN, ()))
    if not drawn or presenting():
        return
    with st.sidebar:
        st.space("small")
        st.segmented_control(
            "Figures are saved as", FORMS, key="figure_form", default=FORMS[0], required=True, format_func=str.upper,
            help="By the camera that appears over a figure.",
        )  # fmt: skip
        # Made when it is asked for: the drawing library goes into the page.
        make = partial(figures_page, drawn, f"cotdistill, {title}")
        st.download_button(
            "All as one HTML page",
            make,
            f"cotdistill-{title.lower()}.html",
            "text/html",
            icon=":material/download:",
            type="tertiary",
        )


def choose(
    label: str,
    options: Sequence[str],
    *,
    key: str,
    start: str | None = None,
    label_of: Callable[[str], str] = str,
    drops: Sequence[str] = (),
    moving: bool = False,
    **more: Any,
) -> str:
    """A choice that lives in the URL under `key`, by its own value and not by the name shown for it. A value in the URL
    that is none of the options is said to be so, and the start is taken. drops: what leaves the URL with another
    choice, since it belongs to this one. moving: the start changes by what else is done on the page. Each start then
    has a widget of its own: a browser that has not drawn the new start yet sends the old one with the next click, which
    would be taken for a choice."""
    wanted = st.query_params.get(key)
    if wanted is not None and wanted not in options:
        lost(key, wanted)
    first = start if start in options else options[0]
    widget = f"{key}.{first}" if moving else key
    st.session_state[widget] = wanted if wanted in options else first
    if moving:
        st.session_state[f"{key}.drawn"] = widget
    return str(
        st.selectbox(
            label, options, key=widget, format_func=label_of, on_change=_keep_as, args=(key, widget, *drops), **more
        )
    )


def keep(key: str, *drops: str) -> None:
    """Write a widget's value into the URL; no value, no parameter. drops: parameters that do not fit another value."""
    _keep_as(key, key, *drops)


def _keep_as(key: str, widget: str, *drops: str) -> None:
    if st.session_state.get(f"{key}.drawn", widget) != widget:
        # A widget that is drawn no more: what a slow browser still says of it is no choice.
        return
    for other in drops:
        st.query_params.pop(other, None)
    if st.session_state[widget] is None:
        st.query_params.pop(key, None)
    else:
        st.query_params[key] = str(st.session_state[widget])


def lost(what: str, name: str) -> None:
    """A link that names something which is not here."""
    st.warning(
        f"The link names {what} “{plain_markdown(name[:80])}”, which is not here; showing another.",
        icon=":material/link_off:",
    )
