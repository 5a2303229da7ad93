"""Right and wrong answers in a data frame, compared without a store: the stack of replicates, intervals and words that
studies have.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from cotdistill.errors import BadRows, DataError, UnknownName
from cotdistill.exchange.prediction_file import NAMES, RIGHT, gaps_between, incomparable
from cotdistill.results.replicates import (
    ConditionAnswers,
    DifferenceRow,
    RunAnswers,
    condition_answers,
    difference_row,
    paired_answers,
)
from cotdistill.statistics.intervals import Interval
from cotdistill.statistics.verdicts import CANNOT, checked_margin
from cotdistill.tasks.importing.files import kind_of, read_records
from cotdistill.text import listed

if TYPE_CHECKING:
    import pandas as pd

Codes = npt.NDArray[np.int64]
BASELINE, UNNUMBERED = "baseline", "0"
# Names of columns that are looked for in a file, the likeliest first; compared without case.
COLUMNS = {field: NAMES[field] for field in ("condition", "item", "replicate", "correct", "cluster")}


@dataclass(frozen=True)
class ComparedCondition:
    """One condition of a data frame. Accuracies and differences are shares."""

    condition: str  # its name in the frame
    answers: ConditionAnswers  # its answers, as one stack of replicates
    replicates: tuple[str, ...]  # names of its replicates
    accuracy: Interval  # with its 95 % interval
    difference: DifferenceRow | None  # to the baseline; None for the baseline, or where no replicate is shared


@dataclass(frozen=True)
class FrameComparison:
    """The conditions of a data frame against one of them, in the order of the frame."""

    baseline: str  # what differences are taken to
    conditions: tuple[ComparedCondition, ...]  # the baseline among them
    replicates: tuple[str, ...]  # names of those that any condition has
    nested: bool  # whether each replicate has questions of its own
    notes: tuple[str, ...]  # what is missing; what is wrong with single replicates stands with each condition

    def word(self, row: ComparedCondition) -> str:
        """The verdict word of one condition."""
        if row.condition == self.baseline:
            return BASELINE
        return row.difference.word if row.difference else CANNOT

    def table(self) -> pd.DataFrame:
        """One row a condition, see `cotdistill.compare`."""
        import pandas as pd

        rows: list[dict[str, Any]] = []
        for row in self.conditions:
            change, layout = row.difference, row.answers.layout
            rows.append(
                {
                    "condition": row.condition,
                    "accuracy": row.accuracy.mean,
                    "accuracy_low": row.accuracy.low,
                    "accuracy_high": row.accuracy.high,
                    **{name: getattr(change, name, None) for name in ("difference", "low", "high", "p")},
                    "word": self.word(row),
                    "kind": change.kind if change else "",
                    "items": layout.size,
                    "clusters": layout.cluster_count,
                    "replicates": change.replicates if change else len(row.replicates),
                }
            )
        table = pd.DataFrame(rows)
        numbers = ["accuracy", "accuracy_low", "accuracy_high", "difference", "low", "high", "p"]
        table[numbers] = table[numbers].astype(float)
        warnings = [f"{row.condition}: {warning}" for row in self.conditions for warning in row.answers.warnings]
        table.attrs["notes"] = [*self.notes, *warnings]
        return table


def compare_frame(
    frame: pd.DataFrame,
    *,
    condition: str = "condition",
    item: str = "item",
    replicate: str | None = None,
    correct: str = "correct",
    cluster: str | None = None,
    baseline: str | None = None,
    margin: float | None = None,
    called: str = "The data frame",
) -> FrameComparison:
    """See `cotdistill.compare`, of which this is the typed result. called: what refusals call the frame."""
    named = {"condition": condition, "item": item, "replicate": replicate, "correct": correct, "cluster": cluster}
    for field, name in named.items():
        if name is not None and name not in frame.columns:
            raise UnknownName(f"column (for the {field})", name, map(str, frame.columns))
        if name is not None and list(frame.columns).count(name) > 1:
            raise DataError(f"Two columns are named {name!r}.", "Rename one of them.")
    if not len(frame):
        raise DataError("The data frame has no rows.", "Expected one row per condition, replicate and question.")
    conditions, condition_names = _codes(frame, condition, "condition", ordered=False)
    items, item_names = _codes(frame, item, "item")
    replicates, replicate_names = np.zeros(len(frame), np.int64), [UNNUMBERED]
    if replicate is not None:
        replicates, replicate_names = _codes(frame, replicate, "replicate")
    right = _right(frame, correct)
    # Sorted by condition, replicate and item: each run is a slice.
    runs = conditions * len(replicate_names) + replicates
    keys = runs * len(item_names) + items
    order = np.argsort(keys, kind="stable")
    _refuse_duplicates(frame, keys[order], order, condition_names, replicate_names, item_names, replicate)
    clusters = _clusters(frame, cluster, items, item_names)
    starts = np.flatnonzero(np.diff(runs[order], prepend=-1))
    slices = np.split(order, starts[1:])
    answers: dict[str, list[tuple[int, RunAnswers]]] = {name: [] for name in condition_names}
    shared: dict[bytes, tuple[tuple[str, ...], tuple[str, ...]]] = {}
    for rows in slices:
        asked = items[rows]
        known = asked.tobytes()
        if known not in shared:
            shared[known] = tuple(item_names[i] for i in asked), tuple(clusters[i] for i in asked)
        run = RunAnswers(*shared[known], right[rows], constant=False)
        answers[condition_names[conditions[rows[0]]]].append((int(replicates[rows[0]]), run))
    if len(shared) > 1:
        by_run = {
            (name, replicate_names[index]): frozenset(run.items)
            for name, each in answers.items()
            for index, run in each
        }
        if gaps := gaps_between(by_run):
            raise incomparable(called, gaps)
    return _compared(answers, replicate_names, _baseline(condition_names, baseline), margin, len(shared) > 1)


def _compared(
    answers: dict[str, list[tuple[int, RunAnswers]]],
    replicate_names: Sequence[str],
    baseline: str,
    margin: float | None,
    nested: bool,
) -> FrameComparison:
    share = checked_margin(None if margin is None else 100 * margin, None)
    stacks = {name: stack for name, runs in answers.items() if (stack := condition_answers(runs, replicate_names))}
    wanted, reference = set(range(len(replicate_names))), stacks[baseline]
    notes, rows = [], []
    for name, stack in stacks.items():
        if lacking := sorted(wanted - set(stack.replicates)):
            named = listed([replicate_names[index] for index in lacking])
            notes.append(f"{name} lacks replicate {named}, which other conditions have: no verdict stands on it yet")
        difference = None
        if name != baseline:
            first, second = _on_shared(answers, name, baseline, stacks)
            seen = paired_answers(first, second)
            if seen is not None and first is not None:
                complete = set(stack.replicates) == set(reference.replicates) == wanted
                difference = difference_row(name, name, seen, first, not complete, share)
            else:
                notes.append(
                    f"{name} and {baseline} share no replicate, so they cannot be paired: the same number in two"
                    " conditions means the same questions and, best, the same seeds"
                )
        called = tuple(replicate_names[index] for index in stack.replicates)
        rows.append(ComparedCondition(name, stack, called, stack.layout.accuracy(stack.correct), difference))
    return FrameComparison(baseline, tuple(rows), tuple(replicate_names), nested, tuple(notes))


def _on_shared(
    answers: dict[str, list[tuple[int, RunAnswers]]], first: str, second: str, stacks: dict[str, ConditionAnswers]
) -> tuple[ConditionAnswers | None, ConditionAnswers | None]:
    """Two conditions over the replicates that both have."""
    both = set(stacks[first].replicates) & set(stacks[second].replicates)
    if both == set(stacks[first].replicates) == set(stacks[second].replicates):
        return stacks[first], stacks[second]
    cut = [condition_answers([run for run in answers[name] if run[0] in both]) for name in (first, second)]
    return cut[0], cut[1]


def _codes(frame: pd.DataFrame, column: str, what: str, *, ordered: bool = True) -> tuple[Codes, list[str]]:
    """Each row's value as a number, and the texts that they stand for, by the texts or in the frame's order."""
    codes, values = _factorised(frame, column)
    if (codes < 0).any():
        raise DataError(
            f"{_row(frame, codes < 0)} has no {what} (column {column!r}).", "Fill the cell, or drop the row."
        )
    names = [_name(value) for value in values]
    # 1 and "1" in one column are one name.
    unique = sorted(set(names)) if ordered else list(dict.fromkeys(names))
    place = {name: index for index, name in enumerate(unique)}
    return np.array([place[name] for name in names], np.int64)[codes], unique


def _factorised(frame: pd.DataFrame, column: str) -> tuple[Codes, Sequence[Any]]:
    """Each row's value as a number, -1 for none, and the values."""
    import pandas as pd

    try:
        codes, values = pd.factorize(frame[column])
    except TypeError as error:
        raise DataError(f"Column {column!r} holds lists or mappings.", "Expected text or numbers.") from error
    return codes.astype(np.int64), list(values)


def _name(value: object) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _row(frame: pd.DataFrame, which: npt.NDArray[np.bool_]) -> str:
    """The first of these rows and how many there are, in words: `row 17 (and 3 more)`."""
    places = np.flatnonzero(which)
    more = f" (and {len(places) - 1} more)" if len(places) > 1 else ""
    return f"{frame.index.name or 'row'} {frame.index[places[0]]}{more}"


def _right(frame: pd.DataFrame, column: str) -> npt.NDArray[np.float64]:
    """(rows,) 1 for a right answer, 0 for a wrong one."""
    codes, values = _factorised(frame, column)
    if (codes < 0).any():
        raise DataError(
            f"{_row(frame, codes < 0)} has no value in column {column!r}.",
            "An answer that could not be read is a wrong one: write 0.",
        )
    right: npt.NDArray[np.float64] = np.array([RIGHT.get(_name(v).strip().casefold(), np.nan) for v in values])[codes]
    if (strange := np.isnan(right)).any():
        value = _name(values[codes[strange.argmax()]])
        raise DataError(
            f"{column} is {value[:40]!r} in {_row(frame, strange)}; expected 1 for a right answer and 0 for a wrong"
            " one.",
            "Verdicts count right answers; take a threshold where there is a score.",
        )
    return right


def _refuse_duplicates(
    frame: pd.DataFrame,
    keys: Codes,
    order: Codes,
    conditions: Sequence[str],
    replicates: Sequence[str],
    items: Sequence[str],
    replicate: str | None,
) -> None:
    again = np.flatnonzero(np.diff(keys) == 0)
    if not len(again):
        return
    key, rows = int(keys[again[0]]), [frame.index[order[again[0] + step]] for step in (0, 1)]
    run, item = divmod(key, len(items))
    where = conditions[run // len(replicates)] + (
        "" if replicate is None else f", replicate {replicates[run % len(replicates)]}"
    )
    more = f"; {len(again)} rows are repeated in all" if len(again) > 1 else ""
    raise DataError(
        f"{items[item][:60]!r} is answered twice under {where}: in {frame.index.name or 'row'} {rows[0]} and"
        f" {rows[1]}{more}.",
        "Name the column that tells replicates apart (replicate)."
        if replicate is None
        else "Keep one answer per condition, replicate and question.",
    )


def _clusters(frame: pd.DataFrame, column: str | None, items: Codes, item_names: Sequence[str]) -> Sequence[str]:
    """The cluster of each item; without a column, the item itself."""
    if column is None:
        return item_names
    codes, names = _codes(frame, column, "cluster")
    first = np.zeros(len(item_names), np.int64)
    first[items[::-1]] = codes[::-1]
    strange = first[items] != codes
    if strange.any():
        place = int(np.flatnonzero(strange)[0])
        raise DataError(
            f"The cluster of {item_names[items[place]][:60]!r} is {names[codes[place]][:60]!r} in"
            f" {_row(frame, strange)} and {names[first[items[place]]][:60]!r} before.",
            "A question belongs to one cluster, whatever condition answers it.",
        )
    return [names[code] for code in first]


def _baseline(conditions: Sequence[str], baseline: str | None) -> str:
    if len(conditions) < 2:
        raise DataError(
            f"There is one condition ({conditions[0][:60]}), so there is nothing to compare.",
            "Expected two or more names in the column of the condition.",
        )
    if baseline is not None and baseline not in conditions:
        raise UnknownName("condition", baseline, conditions)
    return baseline or ("label_only" if "label_only" in conditions else conditions[0])


def read_frame(path: Path, columns: Mapping[str, str]) -> tuple[pd.DataFrame, dict[str, str]]:
    """The rows of a file (.csv, .tsv, .jsonl, .parquet, plain or .gz) and which column holds which field. columns:
    those that were named; the rest is guessed from names. The index counts lines of the file.
    """
    import pandas as pd

    for field in columns:
        if field not in COLUMNS:
            raise UnknownName("field", field, COLUMNS)
    kind = kind_of(path)
    try:
        if kind in ("csv", "tsv"):
            # As text, since 007 and 7 are two questions, and a question may be called NA.
            separator = "\t" if kind == "tsv" else ","
            frame = pd.read_csv(path, sep=separator, dtype=str, keep_default_na=False, na_values=[""])
            frame.index = pd.RangeIndex(2, 2 + len(frame), name="line")
        else:
            records, problems = read_records(path)
            if problems:
                raise BadRows(problems, "Correct them; nothing was compared.")
            frame = pd.DataFrame([record.row for record in records])
            frame.index = pd.Index([record.line for record in records], name="row" if kind == "parquet" else "line")
    except (OSError, ValueError) as error:
        raise DataError(f"{path.name} cannot be read: {str(error)[:200]}", "Is it whole?") from error
    known = {str(name).casefold(): str(name) for name in reversed(list(frame.columns))}
    guessed = {field: known[name] for field, names in COLUMNS.items() for name in reversed(names) if name in known}
    chosen = {**guessed, **columns}
    if missing := [field for field in ("condition", "item", "correct") if field not in chosen]:
        raise DataError(
            f"No column is known for {', '.join(missing)}; the file has: {', '.join(map(str, frame.columns))[:300]}.",
            f"Say which is which: --columns {','.join(f'{field}=COLUMN' for field in missing)}",
        )
    return frame, chosen
