"""What an archive from elsewhere says of a study, every value checked: identities are derived again, tables opened,
accuracies counted.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cotdistill.config import RECIPES, RunConfig, check
from cotdistill.errors import ArchiveTooNew, BadArchive, CotdistillError
from cotdistill.exchange.export import JOBS, STUDY
from cotdistill.exchange.insert_imported import IncomingJob, IncomingProduct, IncomingStudy
from cotdistill.exchange.prediction_file import AnswersConfig
from cotdistill.exchange.reader import AGAIN, ArchiveFile
from cotdistill.planning.rounds import WriteConfig
from cotdistill.rationales.conditions import parse
from cotdistill.store.records import ANSWERS, identity_of
from cotdistill.studies import analyses
from cotdistill.studies.also_test import AlsoTestConfig
from cotdistill.studies.annotations import LONGEST_NOTE, Remark, checked_tags
from cotdistill.studies.inputs import SelectConfig
from cotdistill.studies.spec import plan_hash_of, spec_from_mapping

# Bytes that a table may have in memory.
LARGEST_TABLE = 1 << 30
STATES = ("finished", "failed", "stopped")
ROLES = ("run", "base", "input", "also")
SUFFIXES = ("parquet", "safetensors")
CONFIGS: dict[str, Callable[[Mapping[str, Any]], Any]] = {
    "base": RunConfig.from_plain,
    "train": RunConfig.from_plain,
    "select": SelectConfig.from_plain,
    "also_test": AlsoTestConfig.from_plain,
    "write": WriteConfig.from_plain,
    ANSWERS: lambda values: AnswersConfig(**values),
    **{kind: config.from_plain for kind, config in analyses.CONFIGS.items()},
}


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) and pa.types.is_floating(kind.value_type))


# Columns of the tables that every page reads, with a test of their type.
TABLES: dict[str, dict[str, Callable[[pa.DataType], bool]]] = {
    "predictions": {
        "id": _is_text,
        "cluster": _is_text,
        "mode": _is_text,
        "answer": pa.types.is_integer,
        "predicted": pa.types.is_integer,
        "correct": pa.types.is_boolean,
        "margin": pa.types.is_floating,
        "probabilities": _is_list,
    },
    "curve": {
        "step": pa.types.is_integer,
        "tokens": pa.types.is_integer,
        "seconds": pa.types.is_floating,
        "name": _is_text,
        "value": pa.types.is_floating,
    },
    "followed": {
        "example": _is_text,
        "cluster": _is_text,
        "tag": _is_text,
        "rationale": _is_text,
        "predicted": pa.types.is_integer,
        "right": pa.types.is_boolean,
        "argued": pa.types.is_boolean,
    },
    "selection": {"example": _is_text, "scores": _is_list},
    "scored": {
        "example": _is_text,
        "cluster": _is_text,
        "scorer": _is_text,
        "correct": pa.types.is_boolean,
        "agrees": pa.types.is_boolean,
    },
    "answers": {
        "example": _is_text,
        "cluster": _is_text,
        "rationale": _is_text,
        "test": _is_text,
        "share": pa.types.is_floating,
        "tokens": pa.types.is_integer,
        "touched": pa.types.is_integer,
        "correct": pa.types.is_boolean,
        "p_gold": pa.types.is_floating,
        "changed": pa.types.is_boolean,
        "control_correct": pa.types.is_boolean,
        "control_p_gold": pa.types.is_floating,
        "control_changed": pa.types.is_boolean,
    },
}
WHOLE_NUMBERS = ("n", "correct")


def content(archive: ArchiveFile) -> IncomingStudy:
    """Everything that an archive says, checked; BadArchive or ArchiveTooNew with the first thing that is wrong. Reads
    every member.
    """
    archive.check()
    jobs = tuple(_job(row, f"{JOBS}, job {number}") for number, row in enumerate(_list(archive.document(JOBS), JOBS)))
    study = _study(archive.document(STUDY), jobs)
    artifacts = set(archive.artifacts)
    wanted = {f"{p.held}.{p.suffix}" for job in jobs for p in job.produced.values() if p.held}
    if odd := sorted(artifacts ^ wanted):
        raise _bad(
            f"artifacts/{odd[0]} is"
            f" {'not in the archive, though a job names it' if odd[0] in wanted else 'named by no job'}"
        )
    read: set[str] = set()
    for job in jobs:
        for role, product in job.produced.items():
            if product.held and product.suffix == "parquet":
                table = _table(archive, product.held, role, TABLES.get(role, {}), whole=product.held not in read)
                read.add(product.held)
                if role == "predictions":
                    _check_predictions(table, job)
    return study


def _study(document: Any, jobs: Sequence[IncomingJob]) -> IncomingStudy:
    row = _mapping(document, STUDY)
    plain_spec = _mapping(row.get("spec"), f"{STUDY}, spec")
    try:
        spec = spec_from_mapping(plain_spec)
    except CotdistillError as error:
        raise ArchiveTooNew(
            f"The study's settings cannot be read: {error.message}",
            "A newer version may have written them: update cotdistill.",
        ) from error
    plan_hash = _hash(row, "plan_hash", STUDY)
    if plan_hash_of(plain_spec) != plan_hash:
        raise _bad("the study's settings do not have the plan hash that is stated")
    name = _text(row, "name", STUDY)
    if name != spec.name:
        raise _bad(f"the study is called {name[:80]!r}, and {spec.name!r} in its settings")
    by_identity = {job.identity: job for job in jobs}
    if len(by_identity) != len(jobs):
        raise _bad("a job stands twice")
    members = tuple(_member(one, by_identity) for one in _list(row.get("members"), f"{STUDY}, members"))
    runs = [(condition, replicate) for _, condition, replicate, role in members if role == "run"]
    if not runs or len(set(runs)) != len(runs):
        raise _bad("the study has no planned run, or one of them twice")
    said = _remark(row["remark"], {condition for condition, _ in runs}) if row.get("remark") is not None else None
    return IncomingStudy(
        name,
        spec,
        plain_spec,
        plan_hash,
        _number(row, "created", STUDY),
        members,
        tuple(jobs),
        said,
        _extends(row),
    )


def _extends(row: Mapping[str, Any]) -> int | None:
    before = row.get("extends")
    if before is not None and (type(before) is not int or not 0 < before < 2**31):
        raise _bad(f"{STUDY}: extends is {_shown(before)}; expected a number of replicates")
    return before


def _remark(document: Any, conditions: set[str]) -> Remark:
    where = f"{STUDY}, remark"
    row = _mapping(document, where)
    note, tags, baseline = _text(row, "note", where), _list(row.get("tags"), where), _text(row, "baseline", where)
    try:
        fits = (
            all(isinstance(tag, str) for tag in tags) and list(checked_tags(tags)) == tags and len(note) <= LONGEST_NOTE
        )
    except CotdistillError:
        fits = False
    if not fits or (baseline and baseline not in conditions):
        raise _bad(f"{where}: the note, the tags or the baseline is not what it should be")
    return Remark(note, tuple(tags), baseline, _number(row, "changed", where))


def _member(document: Any, jobs: Mapping[str, IncomingJob]) -> tuple[str, str, int, str]:
    where = f"{STUDY}, members"
    if not isinstance(document, list) or len(document) != 4:
        raise _bad(f"{where}: expected identity, condition, replicate and role")
    row = dict(zip(("identity", "condition", "replicate", "role"), document, strict=True))
    identity, condition, replicate, role = (
        _hash(row, "identity", where),
        _text(row, "condition", where),
        row["replicate"],
        _text(row, "role", where),
    )
    if type(replicate) is not int or not 0 <= replicate < 2**63 or role not in ROLES:
        raise _bad(
            f"{where}: replicate {replicate!r}, role {role[:40]!r}; expected a whole number, and one of"
            f" {', '.join(ROLES)}"
        )
    if role == "run":
        _canonical(condition, where)
        job = jobs.get(identity)
        if job is not None and (job.kind not in ("train", ANSWERS) or job.config.get("condition") != condition):
            raise _bad(
                f"{where}: the run of {condition[:80]} is a job of kind {job.kind} of"
                f" {str(job.config.get('condition'))[:80]}"
            )
    return identity, condition, replicate, role


def _job(document: Any, where: str) -> IncomingJob:
    row = _mapping(document, where)
    kind, recipe, config = _text(row, "kind", where), row.get("recipe"), _mapping(row.get("config"), f"{where}, config")
    if kind not in RECIPES or type(recipe) is not int or recipe > RECIPES[kind]:
        raise ArchiveTooNew(
            f"{where} is of kind {kind[:40]!r}, recipe {str(recipe)[:20]}, which this version does not know.",
            "Update cotdistill.",
        )
    identity = _hash(row, "identity", where)
    if (derived := identity_of(kind, recipe, config)) != identity:
        raise _bad(f"{where}: its config hashes to {derived[:12]}, it is kept as {identity[:12]}")
    _check_config(kind, config, where)
    state = _text(row, "state", where)
    if state not in STATES:
        raise _bad(f"{where}: state is {state[:40]!r}; expected one of {', '.join(STATES)}")
    done = state == "finished"
    result = _mapping(row.get("result"), f"{where}, result") if done else None
    error = (
        {key: _text(_mapping(row.get("error"), where), key, f"{where}, error") for key in ("kind", "message", "hint")}
        if state == "failed"
        else None
    )
    products = _mapping(row.get("produced"), f"{where}, produced") if done else {}
    used = _mapping(row.get("used"), f"{where}, used") if done else {}
    job = IncomingJob(
        identity=identity,
        kind=kind,
        recipe=recipe,
        config=config,
        label=_text(row, "label", where),
        estimate=_number(row, "estimate", where),
        state=state,
        seconds=_number(row, "seconds", where),
        created=_number(row, "created", where),
        started=None if row.get("started") is None else _number(row, "started", where),
        finished=None if row.get("finished") is None else _number(row, "finished", where),
        result=result,
        error=error,
        needs=tuple(_hash({"need": need}, "need", where) for need in _list(row.get("needs"), f"{where}, needs")),
        produced={role: _product(role, product, where) for role, product in products.items()},
        used={role: _hash(used, role, where) for role in used},
        origin=_hash(row, "origin", where) if row.get("origin") else "",
    )
    if result is not None and kind in ("train", ANSWERS):
        _check_result(result, where)
        if "predictions" not in job.produced or job.produced["predictions"].held is None:
            raise _bad(f"{where}: it has finished, and its predictions are not in the archive")
    return job


def _product(role: str, document: Any, where: str) -> IncomingProduct:
    row = _mapping(document, f"{where}, {role[:40]}")
    digest, held, suffix = _hash(row, "made", where), row.get("held"), _text(row, "suffix", where)
    if held is not None and (_hash(row, "held", where), suffix in SUFFIXES) != (held, True):
        raise _bad(f"{where}: {role[:40]} has the ending {suffix[:20]!r}; expected one of {', '.join(SUFFIXES)}")
    if held not in (None, digest) and role != "predictions":
        raise _bad(f"{where}: {role[:40]} is not what the job made")
    return IncomingProduct(digest, held, suffix)


def _check_config(kind: str, config: Mapping[str, Any], where: str) -> None:
    """That the config can be read as pages read it."""
    try:
        if kind in CONFIGS:
            read = CONFIGS[kind](config)
            for part in (read.student, read.training, read.seeds) if isinstance(read, RunConfig) else ():
                check(part)
            kinds = {"str": str, "Mapping[str, Any]": dict, "Mapping[str, str]": dict, "int": int}
            for field in dataclasses.fields(read):
                if not isinstance(getattr(read, field.name), kinds.get(str(field.type), object)):
                    raise TypeError(f"{field.name} is {getattr(read, field.name)!r}")
            if isinstance(read, (RunConfig, SelectConfig)) and not all(
                isinstance(source, str) for source in read.sources
            ):
                raise TypeError(f"sources are {read.sources!r}")
    except (TypeError, KeyError, ValueError, AttributeError, CotdistillError) as error:
        raise ArchiveTooNew(
            f"{where}: its config cannot be read ({error}).", "A newer version may have written it: update cotdistill."
        ) from error
    if kind in ("train", ANSWERS):
        _canonical(_text(config, "condition", where), where)


def _check_result(result: Mapping[str, Any], where: str) -> None:
    """The numbers of a run that tables and figures rest on."""
    for key in ("accuracy", "chance"):
        if not 0 <= _number(result, key, f"{where}, result") <= 1:
            raise _bad(f"{where}, result: {key} is {result[key]}; expected a share")
    for key in ("tokens", "seconds", "dev_accuracy", "loss_tokens", "flops", "steps"):
        if result.get(key) is not None:
            _number(result, key, f"{where}, result")
    if any(type(result.get(key)) is not int for key in WHOLE_NUMBERS):
        raise _bad(f"{where}, result: {' and '.join(WHOLE_NUMBERS)} should be whole numbers")
    _text(result, "mode", f"{where}, result")


def _table(
    archive: ArchiveFile, held: str, role: str, columns: Mapping[str, Callable[[pa.DataType], bool]], *, whole: bool
) -> pa.Table:
    """A table with the columns that its role asks for; all of it is read once, so that what cannot be unpacked is found
    here.
    """
    name = f"artifacts/{held}.parquet"
    try:
        file = pq.ParquetFile(pa.BufferReader(archive.read(name, LARGEST_TABLE)))
        groups = [file.metadata.row_group(i) for i in range(file.metadata.num_row_groups)]
        if sum(group.total_byte_size for group in groups) > LARGEST_TABLE:
            raise _bad(f"{name} unpacks to more than {LARGEST_TABLE >> 20} MiB")
        schema = file.schema_arrow
        for column, fits in columns.items():
            if column not in schema.names or not (fits(schema.field(column).type) or not file.metadata.num_rows):
                column_type = schema.field(column).type if column in schema.names else "missing"
                raise _bad(f"{name}: the column {column} of the {role[:40]} is {column_type}")
        table = file.read(columns=list(columns) if columns and not whole else None)
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        raise BadArchive(f"{name} cannot be read as Parquet: {error}", AGAIN) from error
    # A loss that was not finite is an empty cell of a curve, a control that could not be made one of the answers.
    if lacking := [
        name for name in columns if role != "curve" and not name.startswith("control_") and table[name].null_count
    ]:
        raise _bad(f"{name}: the column {lacking[0]} has empty cells")
    return table


def _check_predictions(table: pa.Table, job: IncomingJob) -> None:
    """That every answer is one of its choices, every question asked once a mode, and the stated accuracies those of the
    answers.
    """
    assert job.result is not None  # only finished jobs have products
    where = f"The predictions of {job.identity[:12]}"
    lengths = pc.list_value_length(table["probabilities"])
    for column in ("answer", "predicted"):
        if (
            len(table)
            and not pc.all(pc.and_(pc.greater_equal(table[column], 0), pc.less(table[column], lengths))).as_py()
        ):
            raise _bad(f"{where}: {column} is none of the choices in some row")
    modes = {mode: _mapping(one, where) for mode, one in _mapping(job.result.get("modes"), f"{where}, modes").items()}
    if job.kind in ("train", ANSWERS):
        modes[str(job.result["mode"])] = {
            **modes.get(str(job.result["mode"]), {}),
            **{key: job.result[key] for key in ("n", "correct", "accuracy")},
        }
    for mode, stated in modes.items():
        rows = table.filter(pc.equal(table["mode"], pa.scalar(mode)))
        if pc.count_distinct(rows["id"]).as_py() != len(rows):
            raise _bad(f"{where}: a question is asked twice in mode {mode[:20]!r}")
        right = pc.sum(rows["correct"]).as_py() or 0
        numbers = stated.get("n"), stated.get("correct"), stated.get("accuracy")
        if not len(rows) or numbers != (len(rows), right, right / len(rows)):
            raise _bad(
                f"{where} say {right} of {len(rows)} in mode {mode[:20]!r}, its result says {numbers[1]} of"
                f" {numbers[0]} ({numbers[2]})"
            )


def _canonical(condition: str, where: str) -> None:
    try:
        canonical = str(parse(condition))
    except CotdistillError as error:
        raise ArchiveTooNew(
            f"{where}: {error.message}", "A newer version may know this condition: update cotdistill."
        ) from error
    if canonical != condition:
        raise _bad(f"{where}: the condition {condition[:80]!r} is not in its canonical form")


def _bad(message: str) -> BadArchive:
    return BadArchive(f"The archive contradicts itself: {message}.", AGAIN)


def _mapping(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise _bad(f"{where} is {_shown(value)}; expected a mapping")
    return value


def _list(value: Any, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise _bad(f"{where} is {_shown(value)}; expected a list")
    return value


def _text(row: Mapping[str, Any], key: str, where: str) -> str:
    value = row.get(key)
    if not isinstance(value, str):
        raise _bad(f"{where}: {key[:40]} is {_shown(value)}; expected text")
    return value


def _hash(row: Mapping[str, Any], key: str, where: str) -> str:
    value = row.get(key)
    if not isinstance(value, str) or not re.fullmatch("[0-9a-f]{64}", value):
        raise _bad(f"{where}: {key[:40]} is {_shown(value)}; expected 64 hexadecimal digits")
    return value


def _number(row: Mapping[str, Any], key: str, where: str) -> float:
    value = row.get(key)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value) or value < 0:
        raise _bad(f"{where}: {key[:40]} is {_shown(value)}; expected a number that is not negative")
    return float(value)


def _shown(value: Any) -> str:
    return "missing" if value is None else repr(value)[:60]
