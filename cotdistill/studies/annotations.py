"""What people say of a study: a note, tags, and the baseline that they pin. None of it changes a number or the plan."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from cotdistill.errors import UnknownName, UsageError
from cotdistill.store.records import Study
from cotdistill.store.store import Store
from cotdistill.studies.spec import spec_from_mapping

LONGEST_NOTE, LONGEST_TAG, MOST_TAGS = 10_000, 40, 20
# The tag that keeps a study, with everything it names, when garbage is collected.
KEEP = "keep"


@dataclass(frozen=True)
class Remark:
    """note: free text; tags: short words, sorted; baseline: the condition that is pinned, "" for the plan's own;
    changed: unix time, 0 for never.
    """

    note: str = ""
    tags: tuple[str, ...] = ()
    baseline: str = ""
    changed: float = 0.0


def remark(store: Store, study: int | str) -> Remark:
    """What was said of a study; an empty remark if nothing was."""
    return remarks(store).get(store.queue.study(study).id, Remark())


def remarks(store: Store) -> dict[int, Remark]:
    """Every study's remark, by its number; studies without one are left out."""
    with store.queue.database.read() as connection:
        rows = connection.execute("SELECT * FROM remark").fetchall()
    return {
        row["study"]: Remark(row["note"], tuple(json.loads(row["tags"])), row["baseline"], row["changed"])
        for row in rows
    }


def kept_studies(store: Store) -> tuple[int, ...]:
    """Numbers of the studies that are tagged `keep` or have a pinned baseline."""
    return tuple(sorted(number for number, note in remarks(store).items() if KEEP in note.tags or note.baseline))


def set_remark(
    store: Store,
    study: int | str,
    *,
    note: str | None = None,
    tags: Sequence[str] | None = None,
    baseline: str | None = None,
) -> Remark:
    """Change what is given and keep the rest. UsageError for what is too long; UnknownName for a baseline that the
    study does not have.
    """
    record = store.queue.study(study)
    changed = remark(store, record.id)
    if note is not None:
        if len(note) > LONGEST_NOTE:
            raise UsageError(f"The note has {len(note):,} characters; expected at most {LONGEST_NOTE:,}.")
        changed = replace(changed, note=note.strip())
    if tags is not None:
        changed = replace(changed, tags=checked_tags(tags))
    if baseline is not None:
        planned = list(dict.fromkeys(member.condition for member in record.members if member.role == "run"))
        if baseline and baseline not in planned:
            raise UnknownName(f"condition of the study {record.name}", baseline, planned)
        changed = replace(changed, baseline=baseline)
    changed = replace(changed, changed=time.time())
    with store.queue.database.write() as connection:
        connection.execute(
            "INSERT INTO remark VALUES (?, ?, ?, ?, ?) ON CONFLICT (study) DO UPDATE SET "
            "note = excluded.note, tags = excluded.tags, baseline = excluded.baseline, changed = excluded.changed",
            (record.id, changed.note, json.dumps(changed.tags, ensure_ascii=False), changed.baseline, changed.changed),
        )
    return changed


def pinned(store: Store, study: Study) -> str:
    """The condition that differences are taken to: the one pinned by hand, else the plan's own, else the first that was
    trained. Under a token budget the plan's own is found with its budget.
    """
    trained = list(dict.fromkeys(member.condition for member in study.members if member.role == "run"))
    wanted = [remark(store, study.id).baseline, spec_from_mapping(study.spec).pinned]
    return next(
        (c for name in wanted if name for c in trained if c == name or c.startswith(f"{name}@tokens=")), trained[0]
    )


def checked_tags(tags: Sequence[str]) -> tuple[str, ...]:
    """Tags without the space around them, once each, sorted; UsageError for one that is too long or holds a comma, or
    for too many.
    """
    names = sorted({tag.strip() for tag in tags if tag.strip()})
    for tag in names:
        if len(tag) > LONGEST_TAG or "," in tag or not tag.isprintable():
            raise UsageError(
                f"{tag[:LONGEST_TAG]!r} is no tag.",
                f"Expected at most {LONGEST_TAG} printable characters, without a comma.",
            )
    if len(names) > MOST_TAGS:
        raise UsageError(f"A study has {len(names)} tags; expected at most {MOST_TAGS}.")
    return tuple(names)
