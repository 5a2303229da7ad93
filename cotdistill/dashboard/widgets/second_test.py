"""The same students on a second task: a table, on Compare and Findings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import streamlit as st

from cotdistill.dashboard import frame
from cotdistill.report import markup
from cotdistill.report.also_test import also_table, title
from cotdistill.text import plain_markdown


def draw(also: Mapping[str, Any]) -> None:
    """also: the key "also_test" of `results.findings`."""
    table = also_table(also)
    frame.section(title(also))
    rows = [
        [markup.TableCell(text, condition="" if place else str(condition["id"])) for place, text in enumerate(cells)]
        for condition, cells in zip(also["conditions"], table.rows, strict=True)
    ]
    st.html(markup.table(table.columns, rows, title(also)))
    st.caption(plain_markdown(table.caption))
