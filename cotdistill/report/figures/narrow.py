"""A figure for a narrow window: names above their rows, values at the right end above them, titles in several lines.

Plotly draws labels beside the plot and cuts what does not fit, so on a phone there would be labels and no plot.
"""

from __future__ import annotations

import re
import textwrap
from typing import Any

# Width of a character as a share of the size of its font.
CHARACTER = 0.56
# The plot has at least so many pixels, and at least so much of the window.
PLOT, SHARE = 200, 0.4
# Height of a row, and what a second line of its name adds.
ROW, LINE = 58, 17
FONT = 12


def fitted(figure: Any, width: int) -> Any:
    """The figure, or a copy of it that can be read on so many pixels."""
    import plotly.graph_objects as go

    copy = go.Figure(figure)
    rows = _labels(copy)
    grid = any(trace.type == "heatmap" for trace in copy.data) or bool(rows and copy.layout.xaxis.ticktext)
    panels = max(1, sum(key.startswith("xaxis") for key in copy.layout.to_plotly_json()))
    beside = [one for one in copy.layout.annotations if _beside(one)]
    left = max((_pixels(text, copy.layout.yaxis.tickfont.size or 13) for text in rows.values()), default=40)
    right = max(copy.layout.margin.r or 24, *(_pixels(one.text, one.font.size or 13) + 12 for one in beside), 0)
    if (width - left - right) / panels < max(PLOT, SHARE * width / panels):
        if panels > 1:
            _panels_below(copy, beside, panels)
        elif grid:
            _short_labels(copy, rows, width)
        elif rows:
            _names_above(copy, rows, beside, width)
        else:
            _names_below(copy, beside)
    _wrap_titles(copy, width)
    return copy


def plain(text: str) -> str:
    """Without the tags that Plotly reads."""
    return re.sub(r"<[^>]*>", "", text)


def _pixels(text: str, size: float) -> float:
    return CHARACTER * size * max((len(plain(line)) for line in str(text).split("<br>")), default=0)


def _labels(figure: Any) -> dict[Any, str]:
    """Place on the vertical axis -> its name; nothing where the axis has numbers."""
    axis = figure.layout.yaxis
    if axis.ticktext:
        return dict(zip(axis.tickvals, axis.ticktext, strict=True))
    names = [value for trace in figure.data for value in (trace.y if trace.y is not None else ())]
    return {name: name for name in names if isinstance(name, str)}


def _beside(annotation: Any) -> bool:
    """Whether a text stands beside the plot, at the height of a value."""
    at_the_edge = annotation.xref == "paper" and (annotation.x or 0) >= 1 and annotation.xanchor == "left"
    return bool(at_the_edge and annotation.yref in (None, "y"))


def _names_above(figure: Any, rows: dict[Any, str], beside: list[Any], width: int) -> None:
    values = {one.y: plain(one.text) for one in beside}
    lines = 1
    names: list[dict[str, Any]] = []
    for place, name in rows.items():
        room = int((width - 16) / (CHARACTER * FONT)) - len(values.get(place, "")) - 3
        text = plain(name)
        if len(text) > room:
            wrapped = textwrap.wrap(text, max(room, 12))
            lines = max(lines, len(wrapped))
            # One colour holds for the whole name, so its tags are put around the lines.
            head, _, tail = name.partition(text)
            name = head + "<br>".join(wrapped) + tail
        names.append(
            {"x": 0, "xref": "paper", "xanchor": "left", "y": place, "yanchor": "bottom", "yshift": 9, "text": name,
             "showarrow": False, "align": "left", "font": {"size": FONT}}
        )  # fmt: skip
    for one in beside:
        one.update(x=1.0, xanchor="right", xshift=0, yanchor="bottom", yshift=9, font_size=FONT)
    height = ROW + LINE * (lines - 1)
    figure.update_layout(
        annotations=[*figure.layout.annotations, *names],
        height=100 + height * len(rows),
        margin={"l": 4, "r": 8},
    )
    figure.update_yaxes(showticklabels=False, range=[-0.35, len(rows) - 1 + 0.95], title_text="")


def _names_below(figure: Any, beside: list[Any]) -> None:
    """Names of lines that ended beside the plot, one below the other under it."""
    for place, one in enumerate(reversed(beside)):
        one.update(
            x=0, xanchor="left", xshift=0, y=0, yref="paper", yanchor="top", yshift=-52 - 18 * place, font_size=FONT
        )
    more = 18 * len(beside)
    figure.update_layout(
        height=(figure.layout.height or 440) + more,
        margin={"r": 12, "b": (figure.layout.margin.b or 48) + more + 12},
    )


def _panels_below(figure: Any, beside: list[Any], panels: int) -> None:
    """Panels that stood side by side, one below the other; names at the ends of lines below the last one."""
    each, gap = 1 / panels, 0.45 / panels
    titles = [one for one in figure.layout.annotations if one.yref == "paper" and one.xanchor == "center"][:panels]
    for place in range(panels):
        number = "" if place == 0 else str(place + 1)
        bottom = 1 - (place + 1) * each + gap * 0.5
        figure.layout[f"xaxis{number}"].update(domain=[0, 1])
        if place < panels - 1:
            figure.layout[f"xaxis{number}"].update(title_text="")
        figure.layout[f"yaxis{number}"].update(domain=[bottom, bottom + each - gap], showticklabels=True)
        if place < len(titles):
            titles[place].update(x=0, xanchor="left", align="left", y=bottom + each - gap, yanchor="bottom")
    figure.update_layout(height=90 + 300 * panels)
    _names_below(figure, beside)


def _short_labels(figure: Any, rows: dict[Any, str], width: int) -> None:
    """Names of the rows and columns of a grid in several lines."""
    room = max(9, int((width - PLOT - 30) / (CHARACTER * 11)))
    figure.update_yaxes(
        tickvals=list(rows), ticktext=["<br>".join(textwrap.wrap(plain(name), room)) for name in rows.values()],
        tickfont_size=11,
    )  # fmt: skip
    figure.update_layout(margin={"l": 4, "r": 8})
    if columns := figure.layout.xaxis.ticktext:
        room = max(6, int(PLOT / len(columns) / (CHARACTER * 10)))
        wrapped = ["<br>".join(textwrap.wrap(plain(name), room)) for name in columns]
        figure.update_xaxes(ticktext=wrapped, tickangle=0, tickfont_size=10)
        more = 12 * max(name.count("<br>") for name in wrapped)
        figure.update_layout(margin_t=(figure.layout.margin.t or 52) + more)
        if figure.layout.height:
            figure.update_layout(height=figure.layout.height + more)
    figure.update_traces(showscale=False, selector={"type": "heatmap"})


def _wrap_titles(figure: Any, width: int) -> None:
    """The title and the name of the horizontal axis, in as many lines as they need."""
    title = figure.layout.title
    if title.text:
        wrapped = textwrap.wrap(title.text, int(width / (CHARACTER * (title.font.size or 17))))
        title.text = "<br>".join(wrapped)
        if more := 22 * (len(wrapped) - 1):
            # Plotly anchors a title by its first line's middle, so more lines need more room above.
            figure.update_layout(margin_t=(figure.layout.margin.t or 52) + more, title_pad_t=6 + more)
            if figure.layout.height:
                figure.update_layout(height=figure.layout.height + more)
    axis = figure.layout.xaxis.title
    if axis.text:
        axis.text = "<br>".join(textwrap.wrap(axis.text, int((width - 40) / (CHARACTER * (axis.font.size or 13)))))
