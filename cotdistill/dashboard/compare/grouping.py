"""Compare: runs grouped by any of their settings, and what the runs of a study differ in."""

from __future__ import annotations

import streamlit as st

from cotdistill.dashboard import frame
from cotdistill.dashboard.widgets import pickers
from cotdistill.rationales.conditions import parse
from cotdistill.report import captions, markup
from cotdistill.report.commands import changed, command
from cotdistill.results import cross_study, grouping
from cotdistill.results.grouping import OF_CONDITION, SEEDS, RunGroup
from cotdistill.store.records import Study
from cotdistill.store.store import Store
from cotdistill.studies.spec import StudySpec, spec_from_mapping
from cotdistill.text import between, percent, plain_markdown, plural

MOST = 4


def draw(store: Store, study: Study) -> None:
    names = list(dict.fromkeys(one.name for one in store.queue.studies()))
    left, right = st.columns(2, vertical_alignment="bottom")
    with left:
        chosen = pickers.several("Runs of", names, key="of", start=[study.name], most=8)
    runs = grouping.runs(store, chosen)
    differ = grouping.varying(runs)
    options = differ or ["condition"]
    with right:
        by = pickers.several(
            f"Group by, up to {MOST}",
            options,
            key="by",
            start=grouping.all_but_the_seed(options) or options[:1],
            most=MOST,
            help="To begin with all settings that differ but the seeds. A run without a setting is a group of its own.",
        )
    groups = grouping.grouped(store, runs, by)
    cells = [
        [*(_value(name, value) for name, value in zip(by, group.values, strict=True)), *_numbers(group)]
        for group in groups
    ]
    st.html(
        markup.table((*map(_head, by), "Accuracy", "95 % interval", "Runs", "Questions"), cells, "accuracy by group")
    )
    spoken = list(dict.fromkeys(g.interval.speaks_of for g in groups if g.interval))
    st.caption(
        plain_markdown(
            f"{plural(len(groups), 'group')} of {plural(len(runs), 'planned run')}. Runs of a group are averaged within"
            f" a replicate, then over replicates; {'; '.join(spoken)}. A group of several conditions mixes them evenly."
            " No verdict rests on this table."
        )
    )
    text = captions.csv_text(
        [*map(_head, by), "accuracy", "low", "high", "finished", "planned", "replicates", "questions"],
        [_row(g) for g in groups],
    )
    st.download_button("This table as CSV", text, f"{study.name}-grouped.csv", "text/csv", icon=":material/download:")
    hidden = [name for name in differ if name not in by]
    if hidden:
        st.caption(plain_markdown(f"Not grouped by, though the runs differ in it: {', '.join(hidden)}."))
    with st.expander("What this study set, where it is not the default"):
        st.json(changed(spec_from_mapping(study.spec), StudySpec()))
    frame.terminal(command("study", "show", study.name), command("runs", "list", "--study", study.name, "--json"))


def _head(name: str) -> str:
    return name if name in OF_CONDITION or not name.startswith(SEEDS) else f"seed: {name.removeprefix(SEEDS)}"


def _value(name: str, value: str) -> markup.TableCell:
    if name == "condition":
        return markup.TableCell(parse(value).label, condition=value, title=value)
    return markup.TableCell(value, quiet=value == cross_study.ABSENT)


def _numbers(group: RunGroup) -> list[markup.TableCell]:
    interval = group.interval
    return [
        markup.TableCell(percent(interval.mean) if interval else "–"),
        markup.TableCell(
            between(interval.low, interval.high) if interval else "–",
            quiet=True,
            title=interval.speaks_of if interval else "",
        ),
        markup.TableCell(f"{group.finished} of {group.planned}", quiet=group.finished == group.planned),
        markup.TableCell(f"{group.items:,}" if group.items else "–", quiet=True),
    ]


def _row(group: RunGroup) -> list[object]:
    interval = group.interval
    numbers = [interval.mean, interval.low, interval.high] if interval else [None, None, None]
    return [*group.values, *numbers, group.finished, group.planned, group.replicates, group.items]
