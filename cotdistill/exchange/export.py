"""A study as one file that another group imports: what is in it, and export.

FILE.cotdistill.zip holds
  manifest.json               format, version, who wrote it, name, size and SHA-256 of every other member, and a digest
  over all of that study.json                  name, settings, plan hash, time of launch, planned runs, what people said
  of it jobs.json                   every job of it: config, identity, state, result or failure, needs, digests of what
  it used and made artifacts/SHA256.SUFFIX     predictions, curves, selections and looks; weights where they are asked
  for tasks/NAME/DIGEST/FILE      the tasks, unless texts are left out
The same study gives the same bytes: members in a fixed order, as they are, without times of their own.
"""

from __future__ import annotations

import hashlib
import io
import os
import secrets
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

import cotdistill
from cotdistill.config import canonical_json, digest, plain
from cotdistill.errors import DataError, NotFound, StoreError, UsageError
from cotdistill.rationales.conditions import parse
from cotdistill.store.artifacts import hash_file
from cotdistill.store.planned_runs import extended
from cotdistill.store.records import ANSWERS, Job, Study
from cotdistill.store.store import Store
from cotdistill.studies.annotations import remark
from cotdistill.tasks.added import changed_sources
from cotdistill.tasks.importing.task_bundle import SOURCE_FILE, files_of, version_of
from cotdistill.tasks.task import added_folder
from cotdistill.tasks.views import read_view

FORMAT, VERSION = "cotdistill-study", 1
SUFFIX = ".cotdistill.zip"
MANIFEST, STUDY, JOBS = "manifest.json", "study.json", "jobs.json"
# Jobs that make a study's runs; all others look at them.
MAKING = ("base", "train", "select", ANSWERS)
# Looks whose tables hold numbers, and words in the students' own rationales alone.
NUMBERS = ("modes", "scorers", "also_test")
# A larger task is left out: it is the group's own to hand on.
LARGEST_TASK = 256 << 20
BLOCK = 1 << 20


@dataclass(frozen=True)
class Exported:
    """What an export wrote. digest: of the whole, as the manifest states it. left_out: what is not in it, in words."""

    path: Path
    digest: str
    bytes: int
    jobs: int
    artifacts: int
    tasks: tuple[str, ...]
    weights: bool
    texts: bool
    left_out: tuple[str, ...]


@dataclass(frozen=True)
class ArchiveMember:
    """One file of an archive, from memory or from disk."""

    name: str
    size: int
    sha256: str
    source: bytes | Path

    @classmethod
    def of(cls, name: str, source: bytes | Path) -> ArchiveMember:
        if isinstance(source, bytes):
            return cls(name, len(source), hashlib.sha256(source).hexdigest(), source)
        return cls(name, source.stat().st_size, hash_file(source), source)

    def blocks(self) -> Iterator[bytes]:
        if isinstance(self.source, bytes):
            yield self.source
            return
        with open(self.source, "rb") as file:
            while block := file.read(BLOCK):
                yield block


@dataclass
class _ArchiveContents:
    """What goes into an archive, as it comes together."""

    members: dict[str, ArchiveMember] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)
    tasks: list[str] = field(default_factory=list)

    def add(self, name: str, source: bytes | Path) -> ArchiveMember:
        if name not in self.members:
            self.members[name] = ArchiveMember.of(name, source)
        return self.members[name]


def export_study(store: Store, which: int | str, out: Path, *, weights: bool = False, texts: bool = True) -> Exported:
    """Write a study to a file, whole or not at all. weights: also the students themselves, so that others can look
    inside. texts: also the tasks' files, the students' own rationales and what looks at tokens; without, the numbers
    alone.

    UnknownName for a study that there is not, UsageError for a file that cannot be written, StoreError or NotFound
    where the store is damaged.
    """
    if not out.name.endswith(".zip") or not out.parent.is_dir():
        raise UsageError(
            f"{out} cannot be the archive.", f"Name a file in a folder that is there, for example results{SUFFIX}"
        )
    study = store.queue.study(which)
    jobs = _jobs(store, study, texts=texts)
    gathered = _ArchiveContents()
    records = [_record(store, job, needs, gathered, weights=weights, texts=texts) for job, needs in jobs]
    if texts:
        spoken = {source for job, _ in jobs for source in _sources(job)}
        for name, task_digest in sorted(
            {(str(j.config["task"]), str(j.config["task_digest"])) for j, _ in jobs if j.config.get("task_digest")}
        ):
            _add_task(store, name.partition("@")[0], task_digest, spoken, gathered)
    if study.missing:
        gathered.left_out.append(f"{len(study.missing)} planned runs that were deleted")
    artifacts = sum(name.startswith("artifacts/") for name in gathered.members)
    gathered.add(STUDY, canonical_json(_study(store, study)).encode())
    gathered.add(JOBS, canonical_json(sorted(records, key=lambda record: str(record["identity"]))).encode())
    members = [gathered.members[name] for name in sorted(gathered.members)]
    manifest = manifest_of(study, members, weights=weights, texts=texts)
    _write(out, [ArchiveMember.of(MANIFEST, canonical_json(manifest).encode()), *members])
    left_out = tuple(dict.fromkeys(gathered.left_out))
    size = out.stat().st_size
    return Exported(
        out, str(manifest["digest"]), size, len(records), artifacts, tuple(gathered.tasks), weights, texts, left_out
    )


def manifest_of(study: Study, members: Sequence[ArchiveMember], *, weights: bool, texts: bool) -> dict[str, Any]:
    """The manifest of an archive of these members; `digest` is taken over everything else in it."""
    manifest = {
        "format": FORMAT,
        "version": VERSION,
        "written_by": cotdistill.__version__,
        "study": study.name,
        "plan_hash": study.plan_hash,
        "weights": weights,
        "texts": texts,
        "members": [{"name": m.name, "size": m.size, "sha256": m.sha256} for m in members],
    }
    return {**manifest, "digest": digest(manifest)}


def _jobs(store: Store, study: Study, *, texts: bool) -> list[tuple[Job, tuple[str, ...]]]:
    """The jobs of a study with their needs: its members, whatever these need, and the finished looks at them."""
    needs = store.queue.needs()
    jobs = {job.identity: job for job in store.queue.jobs(study=study.id)}
    waiting = list(jobs)
    while waiting:
        for need in needs.get(waiting.pop(), ()):
            if need not in jobs:
                try:
                    jobs[need] = store.queue.job(need)
                except NotFound:
                    continue  # deleted; the runs that it served are there
                waiting.append(need)
    included = set(jobs)
    for job in store.queue.jobs(state="finished"):
        needed = needs.get(job.identity, ())
        if job.kind not in MAKING and (texts or job.kind in NUMBERS) and needed and included.issuperset(needed):
            jobs[job.identity] = job
    return [(job, needs.get(job.identity, ())) for job in jobs.values()]


def _study(store: Store, study: Study) -> dict[str, Any]:
    said, before = remark(store, study.id), extended(store, study)
    members = [[m.identity, m.condition, m.replicate, m.role] for m in study.members]
    document = {
        "name": study.name,
        "spec": study.spec,
        "plan_hash": study.plan_hash,
        "created": study.created,
        "members": members,
    }
    return {
        **document,
        "remark": plain(said) if said.changed else None,
        "extends": before["replicates"] if before else None,
    }


def _record(
    store: Store, job: Job, needs: Sequence[str], gathered: _ArchiveContents, *, weights: bool, texts: bool
) -> dict[str, Any]:
    """A job as the archive holds it, its artefacts gathered. What is running or queued here counts as not run."""
    produced = {
        role: _held(store, job, role, made, gathered, weights=weights, texts=texts)
        for role, made in job.produced.items()
    }
    produced |= {
        role: {"made": made, "held": None, "suffix": ""} for role, made in job.left_out.items() if role not in produced
    }
    return {
        "identity": job.identity,
        "kind": job.kind,
        "recipe": job.recipe,
        "config": job.config,
        "label": job.label,
        "estimate": job.estimate,
        "state": "stopped" if job.state in ("queued", "running") else job.state,
        "seconds": job.seconds if job.state == "finished" else 0.0,
        "created": job.created,
        "started": job.started if job.state == "finished" else None,
        "finished": job.finished if job.state == "finished" else None,
        "result": job.result if job.state == "finished" else None,
        # Where a traceback leads is nobody else's concern.
        "error": {key: str(job.error.get(key, "")) for key in ("kind", "message", "hint")}
        if job.error and job.state == "failed"
        else None,
        "needs": sorted(needs),
        "produced": produced if job.state == "finished" else {},
        "used": dict(job.used) if job.state == "finished" else {},
        "origin": job.origin,
    }


def _held(
    store: Store, job: Job, role: str, digest: str, gathered: _ArchiveContents, *, weights: bool, texts: bool
) -> dict[str, Any]:
    """One product of a job: made, the digest of what it made; held, that of what the archive holds (None: left out;
    another: without its texts).
    """
    whole = job.left_out.get(role, digest)
    path = store.artifacts.path(digest)
    if path.suffix == ".safetensors" and not weights:
        gathered.left_out.append("the students' weights: ask for them with --weights")
        return {"made": whole, "held": None, "suffix": ""}
    if role == "predictions" and not texts and (bare := without_texts(path)) is not None:
        member = ArchiveMember.of("", bare)
        gathered.add(f"artifacts/{member.sha256}.parquet", bare)
        return {"made": whole, "held": member.sha256, "suffix": "parquet"}
    member = gathered.add(f"artifacts/{digest}{path.suffix}", path)
    if member.sha256 != digest:
        raise StoreError(
            f"The artefact {digest[:12]} of run {job.id} is damaged: it hashes to {member.sha256[:12]}.",
            "See: cotdistill store verify",
        )
    return {"made": whole, "held": digest, "suffix": path.suffix.lstrip(".")}


def without_texts(path: Path) -> bytes | None:
    """Predictions with the students' own rationales emptied; None where there are none, so that the file can stay as it
    is.
    """
    table = pq.read_table(path)
    if "rationale" not in table.column_names or table["rationale"].null_count == len(table):
        return None
    place = table.column_names.index("rationale")
    empty = pa.nulls(len(table), table.schema.field(place).type)
    buffer = io.BytesIO()
    pq.write_table(table.set_column(place, table.schema.field(place), empty), buffer, compression="zstd")
    return buffer.getvalue()


def _sources(job: Job) -> set[str]:
    """Whose rationales a job reads."""
    named = [job.config.get("source"), *(job.config.get("sources") or ())]
    if "condition" in job.config:
        named.append(parse(str(job.config["condition"])).reads(""))
    return {name for view in named if view for name in read_view(str(view)).names if name}


def _add_task(store: Store, name: str, task_digest: str, spoken: set[str], gathered: _ArchiveContents) -> None:
    task = version_of(store.tasks_root, name, task_digest)
    if task is None:
        gathered.left_out.append(f"the task {name}, which is not here in the version that was trained on")
        return
    added = [source for source in task.added if source in spoken]
    if problems := [
        *task.verify(),
        *(told for told in changed_sources(task) if any(f" {source} " in told for source in added)),
    ]:
        raise DataError(problems[0], "Import the task again, or leave the texts out (--no-texts).")
    files = files_of(task.folder)
    for source in added:
        files |= {
            f"sources/{source}/{file}": path
            for file, path in files_of(added_folder(task.folder, source), SOURCE_FILE).items()
        }
    if (size := sum(path.stat().st_size for path in files.values())) > LARGEST_TASK:
        gathered.left_out.append(
            f"the task {name}, whose files are {size >> 20} MiB: hand it on by itself (cotdistill tasks export {name})"
        )
        return
    for file, path in files.items():
        gathered.add(f"tasks/{name}/{task_digest}/{file}", path)
    gathered.tasks.append(name)


def _write(out: Path, members: Sequence[ArchiveMember]) -> None:
    part = out.with_name(f".{out.name}.{secrets.token_hex(4)}")
    try:
        with open(part, "xb") as file:
            with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
                for member in members:
                    info = zipfile.ZipInfo(member.name, (1980, 1, 1, 0, 0, 0))
                    info.create_system, info.external_attr, info.file_size = 3, 0o100644 << 16, member.size
                    with archive.open(info, "w") as target:
                        _copy(member, target)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, out)
    except OSError as error:
        raise UsageError(
            f"{out} cannot be written: {error.strerror or error}.",
            "Choose a place that you may write to and that has room.",
        ) from error
    finally:
        part.unlink(missing_ok=True)


def _copy(member: ArchiveMember, target: Any) -> None:
    total = hashlib.sha256()
    for block in member.blocks():
        total.update(block)
        target.write(block)
    if total.hexdigest() != member.sha256:
        raise StoreError(f"{member.name} changed while it was copied.", "Export again.")
