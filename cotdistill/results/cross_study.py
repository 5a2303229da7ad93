"""Several studies side by side: conditions x studies, and the settings in which they differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cotdistill.rationales.conditions import parse
from cotdistill.results import results
from cotdistill.store.records import Study
from cotdistill.store.store import Store
from cotdistill.studies.spec import StudySpec, spec_from_mapping

# Names and words for people say nothing about a run.
NOT_SETTINGS = ("name", "title")
ABSENT = "–"


@dataclass(frozen=True)
class StudyCell:
    """One condition of one study: an accuracy, or its paired difference to a baseline (both as shares) with its 95 %
    interval. word: the verdict on a difference, "" for an accuracy. finished, planned: replicates.
    """

    value: float
    low: float | None
    high: float | None
    word: str
    items: int
    finished: int
    planned: int


@dataclass(frozen=True)
class Column:
    """One study. cells: by condition; a condition that it does not have, or that has not run, is left out."""

    study: Study
    spec: StudySpec
    chance: float | None
    cells: Mapping[str, StudyCell]


def grid(store: Store, studies: Sequence[Study], baseline: str = "") -> list[Column]:
    """One column a study. baseline: a condition, for differences to it; "" for accuracies."""
    columns = []
    for study in studies:
        summaries = {s.condition: s for s in results.summary(store, study.id)}
        chance = results.chance_of(summaries.values())
        if baseline:
            cells = {
                row.condition: StudyCell(
                    row.difference,
                    row.low,
                    row.high,
                    row.word,
                    row.items,
                    row.replicates,
                    summaries[row.condition].planned,
                )
                for row in (results.comparison(store, study.id, baseline).rows if baseline in summaries else ())
            }
        else:
            cells = {
                s.condition: StudyCell(s.mean, s.low, s.high, "", s.items, s.finished, s.planned)
                for s in summaries.values()
                if s.mean is not None
            }
        columns.append(Column(study, spec_from_mapping(study.spec), chance, cells))
    return columns


def conditions(columns: Sequence[Column]) -> list[str]:
    """Every condition of the grid: those that stand in most studies first, then in the order of the first study that
    has them.
    """
    order = list(dict.fromkeys(condition for column in columns for condition in column.cells))
    return sorted(
        order,
        key=lambda c: (
            -sum(c in column.cells for column in columns),
            parse(c).placement != "undistilled",
            order.index(c),
        ),
    )


def differing(settings: Sequence[Mapping[str, Any]]) -> list[tuple[str, tuple[str, ...]]]:
    """(setting, its value in each) of the settings that are not the same in all, nested ones as training.lr; a value
    that is not there is ABSENT.
    """
    flat = [flattened(one) for one in settings]
    names = list(dict.fromkeys(name for one in flat for name in one))
    rows = [(name, tuple(setting_text(one.get(name)) for one in flat)) for name in names]
    return [(name, values) for name, values in rows if len(set(values)) > 1]


def flattened(settings: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Nested settings as one level: {"training": {"lr": 1}} -> {"training.lr": 1}; an empty mapping vanishes."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            flat |= flattened(value, f"{before}{name}.")
        elif before or name not in NOT_SETTINGS:
            flat[f"{before}{name}"] = value
    return flat


def setting_text(value: Any) -> str:
    """A setting's value for people."""
    if value is None or value == "":
        return ABSENT
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value)) or ABSENT
    return f"{value:g}" if isinstance(value, float) else str(value)
