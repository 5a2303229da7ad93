"""Which rows belong together, which split each falls into, and what occurs twice."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

from cotdistill.config import stable_seed
from cotdistill.errors import DataError, UsageError
from cotdistill.tasks.example import Example
from cotdistill.tasks.task import SPLITS

PARTS = 10
PREMISE = re.compile(r"^premise:\s*(.+?)\s*hypothesis:", re.IGNORECASE | re.DOTALL)


def first_by_hash(examples: Sequence[Example], number: int) -> list[Example]:
    """A fixed sub-sample: the `number` examples whose hashed ids come first, in the order in which they stand; all of
    them where it is 0 or not fewer."""
    if not number or number >= len(examples):
        return list(examples)
    first = {e.id for e in sorted(examples, key=lambda e: stable_seed("test", e.id))[:number]}
    return [e for e in examples if e.id in first]


def pattern_of(rule: str) -> re.Pattern[str]:
    """The pattern of a rule "regex:PATTERN"; UsageError if it cannot be read or has no group."""
    try:
        pattern = re.compile(rule.removeprefix("regex:"), re.IGNORECASE | re.DOTALL)
    except re.error as error:
        hint = "For example regex:^(.+?)\\? where the first group names the cluster."
        raise UsageError(f"The cluster pattern cannot be read: {error}.", hint) from error
    if pattern.groups < 1:
        raise UsageError("The cluster pattern has no group.", "Put what names the cluster in brackets.")
    return pattern


def with_clusters(examples: Sequence[Example], pattern: re.Pattern[str] | None, warnings: list[str]) -> list[Example]:
    """Every row with its cluster: the one it has, what the pattern's first group finds in the question, its premise, or
    the question itself.
    """
    matches = {
        e.id: m.group(1)
        for e in examples
        if not e.cluster and (m := (pattern or PREMISE).search(e.question)) and m.group(1)
    }
    if pattern is not None and not matches and not all(e.cluster for e in examples):
        raise UsageError(
            "The cluster pattern matches no question.", f"The first question is: {examples[0].question[:120]!r}"
        )
    if matches and pattern is None:
        warnings.append(f"{len(matches):,} questions have a premise: questions on the same premise form one cluster.")
    if pattern is not None and not matches:
        warnings.append("The cluster pattern fits no question: only repeated questions form a cluster.")
    return [replace(e, cluster=e.cluster or folded(matches.get(e.id, e.question))) for e in examples]


@lru_cache(maxsize=1 << 16)
def folded(text: str) -> str:
    """A text without case, punctuation and spacing."""
    return " ".join(re.findall(r"\w+", text.casefold())) or text


def with_roles(examples: Sequence[Example], warnings: list[str]) -> tuple[list[Example], dict[str, str]]:
    """Give every row its split. A task without a labelled test: official dev becomes test, a hash-fixed tenth of train
    dev.
    """
    have = {e.split for e in examples}
    if len(have) == 1:
        warnings.append(
            "There is one split only: it is cut by hash into 80 % train, 10 % dev and 10 % test, cluster by cluster."
        )
        cut = _cut(examples, ("test", "dev"))
        roles = {
            "train": "80 % of the rows, by hash of the cluster",
            "dev": "10 % of the rows, by hash",
            "test": "10 % of the rows, by hash",
        }
    elif have == {"train", "test", "dev"}:
        cut, roles = list(examples), {"train": "official train", "dev": "official dev", "test": "official test"}
    elif have == {"train", "test"}:
        cut = _tenth_of_train(examples)
        roles = {
            "train": "official train less a hash-fixed 10 %",
            "dev": "a hash-fixed 10 % of train",
            "test": "official test",
        }
        warnings.append("There is no dev split: a hash-fixed 10 % of train is dev.")
    elif have == {"train", "dev"}:
        cut = _tenth_of_train([replace(e, split="test") if e.split == "dev" else e for e in examples])
        roles = {
            "train": "official train less a hash-fixed 10 %",
            "dev": "a hash-fixed 10 % of train",
            "test": "official dev",
        }
        warnings.append(
            "There is no test split with labels: official dev is the test, and a hash-fixed 10 % of train is dev."
        )
    else:
        raise DataError(
            f"There is no training split; found {', '.join(sorted(have))}.",
            "Add train.jsonl, or import one file alone.",
        )
    for split in SPLITS:
        if not any(e.split == split for e in cut):
            clusters = len({e.cluster for e in cut})
            raise DataError(
                f"No row falls into the {split} split: {len(cut)} rows in {clusters} clusters are too few.",
                "Import more rows, or give every split its file.",
            )
    return cut, roles


def _tenth_of_train(examples: Sequence[Example]) -> list[Example]:
    train = iter(_cut([e for e in examples if e.split == "train"], ("dev",)))
    return [next(train) if e.split == "train" else e for e in examples]


def _cut(examples: Sequence[Example], named: Sequence[str]) -> list[Example]:
    """Rows of one split cut into train and a tenth for each named split, by the hash of the cluster: more rows leave
    the others where they are.

    With few clusters a tenth may hold none; then it gets the cluster with the smallest hash among those left to train.
    """
    place = {cluster: stable_seed("split", cluster) for cluster in {e.cluster for e in examples}}
    split = {cluster: named[n] if (n := place[cluster] % PARTS) < len(named) else "train" for cluster in place}
    for name in named:
        left = sorted((c for c in place if split[c] == "train"), key=lambda c: place[c])
        if name not in split.values() and len(left) > 1:
            split[left[0]] = name
    return [replace(e, split=split[e.cluster]) for e in examples]


def same_place(examples: Sequence[Example]) -> str:
    """A sentence where nine of ten right choices stand in one place, which a student can learn instead of the answer;
    "" otherwise, and for choices that are the same in every row.
    """
    varied = [e for e in examples if not e.is_written]
    if len(varied) < 10 or len({tuple(c.text for c in e.choices) for e in varied}) == 1:
        return ""
    place, count = Counter(e.gold for e in varied).most_common(1)[0]
    if count < 0.9 * len(varied):
        return ""
    return (
        f"The right choice stands in place {place + 1} in {count:,} of {len(varied):,} rows: its position gives it"
        " away."
    )


def checks(examples: Sequence[Example], warnings: list[str]) -> dict[str, Any]:
    """Questions that occur twice with the same choices (case, punctuation and the order of the choices aside), within a
    split and across splits, how many of them word for word, and clusters that stand in two splits."""
    alike: dict[str, list[str]] = {}
    same: Counter[tuple[Any, ...]] = Counter()
    across: dict[str, set[str]] = {}
    for e in examples:
        alike.setdefault(folded(e.question) + "|" + "|".join(sorted(folded(c.text) for c in e.choices)), []).append(
            e.split
        )
        same[(e.split, e.question, e.choices)] += 1
        across.setdefault(e.cluster, set()).add(e.split)
    repeated = sum(len(splits) - len(set(splits)) for splits in alike.values())
    exact = sum(count - 1 for count in same.values())
    overlaps = Counter(" and ".join(_ordered(splits)) for splits in alike.values() if len(set(splits)) > 1)
    shared = Counter(" and ".join(_ordered(splits)) for splits in across.values() if len(splits) > 1)
    if repeated:
        warnings.append(
            f"{_many(repeated, 'question')} repeated within a split with the same choices, {exact} word for word."
        )
    warnings += [
        f"{_many(n, 'question')} in both {where}, with the same choices." for where, n in sorted(overlaps.items())
    ]
    warnings += [
        f"{_many(n, 'cluster')} in both {where}: the same question or premise." for where, n in sorted(shared.items())
    ]
    return {
        "repeated_within_a_split": repeated,
        "word_for_word": exact,
        "in_two_splits": dict(overlaps),
        "clusters_in_two_splits": sum(shared.values()),
    }


def _many(count: int, what: str) -> str:
    return f"1 {what} is" if count == 1 else f"{count:,} {what}s are"


def _ordered(splits: Mapping[str, Any] | Sequence[str] | set[str]) -> list[str]:
    return [split for split in SPLITS if split in splits]
