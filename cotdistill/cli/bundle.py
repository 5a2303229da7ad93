"""A report to share: versions, sizes, settings, counts and kinds of errors; no data, no paths, no names, no secrets."""

from __future__ import annotations

import json
import os
import re
import zipfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cotdistill.errors import UsageError
from cotdistill.store.budget import budget, held_by
from cotdistill.store.database import MIGRATIONS
from cotdistill.store.disk import disk_errors
from cotdistill.store.store import Store

# The parts of the doctor's document that hold nothing personal.
SHARED = ("ok", "cotdistill", "python", "platform", "cpus", "memory", "disk", "device", "packages")


def write_bundle(path: Path, document: Mapping[str, Any], store: Store | None) -> Path:
    """Write the report as a zip of one JSON document, whole or not at all. UsageError if the file is there."""
    path = path.expanduser().absolute()
    if path.exists():
        raise UsageError(f"{path} exists already.", "Name a file that does not exist.")
    report = {
        **{name: document[name] for name in SHARED},
        "problems": len(document["problems"]),
        "store": None if store is None else _store(store),
    }
    # Names alone: values may be secrets or paths.
    report["environment"] = sorted(
        name for name in os.environ if re.fullmatch(r"COTDISTILL_[A-Z_]+|OMP_NUM_THREADS|CUDA_VISIBLE_DEVICES", name)
    )
    with disk_errors(path.parent, "the report"):
        part = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            with zipfile.ZipFile(part, "x", zipfile.ZIP_DEFLATED) as archive:
                archive.writestr("report.json", json.dumps(report, indent=2, sort_keys=True))
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)
    return path


def _store(store: Store) -> dict[str, Any]:
    jobs = store.queue.jobs()
    with store.queue.database.read() as connection:
        limits = budget(connection, store.home)
    errors = Counter(
        kind for job in jobs if job.error and re.fullmatch("[a-z_]{1,40}", kind := str(job.error.get("kind", "")))
    )
    return {
        "format": len(MIGRATIONS),
        "bytes": held_by(store.home),
        "jobs": {
            kind: dict(Counter(job.state for job in jobs if job.kind == kind))
            for kind in sorted({job.kind for job in jobs})
        },
        "attempts": sum(job.attempt for job in jobs),
        "errors": dict(errors),
        "studies": len(store.queue.studies()),
        "imported": sum(bool(job.origin) for job in jobs),
        "settings": {
            "paused": store.queue.paused,
            "workers": store.queue.workers(),
            "max": limits.most,
            "free": limits.floor,
            "queued": limits.queued,
        },
    }
