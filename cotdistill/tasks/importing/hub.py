"""Data sets of the Hugging Face hub, read by `datasets.load_dataset`: revision pinned and recorded, the cache honoured,
no code of the data set run.

The libraries are imported when a data set is read, never before: the page process must stay small, and the terminal's
help quick.
"""

from __future__ import annotations

import contextlib
import os
import re
import ssl
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cotdistill.errors import DataError, HubUnreachable, UsageError
from cotdistill.tasks.importing.cells import Row
from cotdistill.tasks.importing.columns import ColumnMap, guess_columns, header_of
from cotdistill.tasks.importing.files import SPLIT_NAMES, Record, checked_splits, split_of
from cotdistill.tasks.importing.hub_catalog import HUB, HubDataset

PREFIX = "hub:"
# How long the hub may take to answer at all; its client alone would try for half a minute and more.
PROBE_SECONDS = 6.0
COMMIT = re.compile(r"[0-9a-f]{40}")
# Readers of plain tables. Others decode archives, media or code of their own.
READERS = ("parquet", "json", "csv", "arrow")
# Kinds of columns that hold no text.
MEDIA = ("Image", "Audio", "Video", "Pdf")
FETCH = (
    "Fetch it where there is a network (hf download {name} --repo-type dataset{revision}), and take HF_HOME along; or"
    " import files."
)


@dataclass(frozen=True)
class HubSource:
    """What is asked of the hub. dataset: OWNER/NAME, or a folder on this machine that is laid out like one. config,
    revision: "" for the data set's own default. splits: our splits (train, dev, test) by the hub's names for
    them, several joined by +; empty takes the usual names."""

    dataset: str
    config: str = ""
    revision: str = ""
    splits: Mapping[str, str] = field(default_factory=dict)
    known: HubDataset | None = None

    @property
    def name(self) -> str:
        """OWNER/NAME, or the folder's own name: where it lies on this machine is nobody's business."""
        return Path(self.dataset).name if Path(self.dataset).is_absolute() else self.dataset

    @property
    def description(self) -> str:
        return self.name + (f" ({self.config})" if self.config else "")


@dataclass(frozen=True)
class HubRows:
    """What was read. records: by our split, "" where there is a single one. commit: what the revision was, "" of a
    folder. names: of each label column, what its numbers mean. warnings: what a person should know."""

    records: Mapping[str, list[Record]]
    splits: Mapping[str, str]
    commit: str
    names: Mapping[str, tuple[str, ...]]
    warnings: tuple[str, ...]


def hub_source(text: str, config: str = "", revision: str = "", splits: Mapping[str, str] | None = None) -> HubSource:
    """`hub:OWNER/NAME`, `hub:FOLDER` or `hub:KNOWN` (a name of the catalogue, with its config and pinned revision) as a
    source; UsageError.
    """
    name = text.removeprefix(PREFIX).strip()
    splits = checked_splits(splits or {})
    if name in HUB:
        known = HUB.get(name)
        # Another config or revision is another data set: what is known of this one need not hold for it.
        same = config in ("", known.config)
        return HubSource(
            known.dataset,
            config or known.config,
            revision or known.revision,
            dict(splits or known.splits),
            known if same else None,
        )
    if not name or (name.count("/") != 1 and not Path(name).expanduser().is_dir()):
        raise UsageError(
            f"{text!r} names no data set of the hub.",
            f"Write hub:OWNER/NAME, or one that is known: {', '.join(HUB.names())}.",
        )
    if Path(name).expanduser().is_dir():
        if revision:
            raise UsageError(
                f"{name} is a folder on this machine: it has no revision.",
                "Leave --revision out, or name the data set.",
            )
        name = str(Path(name).expanduser().resolve())
    return HubSource(name, config, revision, dict(splits))


def read_hub(source: HubSource) -> HubRows:
    """The rows of a data set. HubUnreachable where neither the hub nor the cache has it; DataError for what cannot be
    read, a data set that is a program among it; UsageError for a split that it lacks."""
    warnings: list[str] = []
    loaded, commit = _loaded(source, warnings)
    splits = _splits(source, list(loaded), warnings)
    records: dict[str, list[Record]] = {}
    names: dict[str, tuple[str, ...]] = {}
    for ours, theirs in splits.items():
        records[ours] = []
        for name in theirs.split("+"):
            part = loaded[name]
            names |= {
                column: tuple(kind.names)
                for column, kind in part.features.items()
                if type(kind).__name__ == "ClassLabel"
            }
            # No field reads images or sounds; everything else as it is stored.
            media = [column for column, kind in part.features.items() if type(kind).__name__ in MEDIA]
            rows = part.data.table.drop_columns(media).to_pylist()
            records[ours] += [Record(name, number, _named(row, names)) for number, row in enumerate(rows, start=1)]
    if not any(records.values()):
        raise DataError(f"{source.description} has no rows.", "Name another config (--config).")
    return HubRows(records, splits, commit, names, tuple(warnings))


def hub_columns(source: HubSource, rows: HubRows) -> ColumnMap:
    """The map of a data set that is known, else the one that its columns and label names suggest."""
    if source.known is not None:
        return source.known.columns
    every = [record.row for records in rows.records.values() for record in records[:100]]
    guess = guess_columns(header_of(every), every)
    if guess.answer in rows.names and not guess.choices and not guess.inline_choices:
        return ColumnMap(**{**vars(guess), "fixed_choices": "|".join(rows.names[guess.answer])})
    return guess


def _named(row: Row, names: Mapping[str, Sequence[str]]) -> Row:
    """Labels by their names; a number without one (-1: kept back) as nothing."""
    named = {column: _name(row.get(column), known) for column, known in names.items() if column in row}
    return {**row, **named}


def _name(value: Any, known: Sequence[str]) -> str | None:
    return known[value] if isinstance(value, int) and 0 <= value < len(known) else None


def _splits(source: HubSource, there: Sequence[str], warnings: list[str]) -> dict[str, str]:
    """Our splits by the names of theirs; several that are one of ours are joined by + (train_r1+train_r2)."""
    listed = ", ".join(there)
    if source.splits:
        chosen = {}
        for ours in ("train", "dev", "test"):
            joined = [name.strip() for name in source.splits.get(ours, "").split("+") if name.strip()]
            if strange := [name for name in joined if name not in there]:
                raise UsageError(
                    f"{source.description} has no split {strange[0]!r}; it has {listed}.",
                    "Name them as --splits train=train,dev=validation",
                )
            if joined:
                chosen[ours] = "+".join(joined)
    elif len(there) == 1:
        chosen = {"": there[0]}
    else:
        usual: dict[str, str] = {}
        for theirs in there:
            usual_name = SPLIT_NAMES.get(theirs.casefold())
            if usual_name is not None and usual_name in usual:
                raise UsageError(
                    f"{usual[usual_name]!r} and {theirs!r} of {source.description} are both the {usual_name} split.",
                    "Choose by --splits.",
                )
            if usual_name is not None:
                usual[usual_name] = theirs
        if "train" not in usual:
            raise UsageError(
                f"{source.description} has no split named train; it has {listed}.",
                f"Say which is which: --splits {_likely_splits(there)}",
            )
        chosen = {ours: usual[ours] for ours in ("train", "dev", "test") if ours in usual}
    taken = {name for joined in chosen.values() for name in joined.split("+")}
    if left := [theirs for theirs in there if theirs not in taken]:
        warnings.append(f"Splits of the hub that are left out: {', '.join(left)}.")
    return chosen


def _likely_splits(there: Sequence[str]) -> str:
    """What --splits would say of splits whose names speak of one of ours: train=train_r1+train_r2,dev=dev_r1."""
    likely: dict[str, list[str]] = {}
    for theirs in there:
        likely.setdefault(split_of(theirs) or "", []).append(theirs)
    named = [f"{ours}={'+'.join(likely[ours])}" for ours in ("train", "dev", "test") if ours in likely]
    return ",".join(named) if "train" in likely else f"train={there[0]}"


def _loaded(source: HubSource, warnings: list[str]) -> tuple[Mapping[str, Any], str]:
    """The data set as `datasets` gives it, by split, and its commit."""
    import datasets

    datasets.disable_progress_bars()
    datasets.logging.set_verbosity_error()
    if Path(source.dataset).is_dir():
        return _load(source, source.dataset, "")[0], ""
    if not datasets.config.HF_HUB_OFFLINE and reachable():
        commit = _commit(source)
        loaded, features = _load(source, source.dataset, commit)
        # Where something fails on the way, `datasets` takes whatever commit its cache holds.
        if features != commit:
            raise HubUnreachable(
                f"The hub broke off while {source.description} was read at commit {commit[:12]}.", "Try again."
            )
        return loaded, commit
    why = "Offline mode is on" if datasets.config.HF_HUB_OFFLINE else "The hub cannot be reached"
    with _offline(datasets):
        loaded, commit = _cached(source, why)
    warnings.append(f"{why}: read from the cache of this machine, commit {commit[:12] or 'not known'}.")
    return loaded, commit


def _commit(source: HubSource) -> str:
    """The commit that the wished revision is now; DataError for a data set or revision that is not there, and for one
    that is a program.
    """
    from huggingface_hub import HfApi

    try:
        info = HfApi().dataset_info(source.dataset, revision=source.revision or None, timeout=PROBE_SECONDS)
    except Exception as error:
        raise _load_error(source, error) from error
    script = f"{source.dataset.split('/')[-1]}.py"
    if any(file.rfilename == script for file in info.siblings or ()):
        raise _program(source, script)
    return str(info.sha)


def _program(source: HubSource, script: str) -> DataError:
    return DataError(
        f"{source.description} is a program ({script}), and code of a data set is never run here.",
        "Most have a copy in Parquet that the hub has made: add --revision refs/convert/parquet. Or load it elsewhere"
        " and import its files.",
    )


def _cached(source: HubSource, why: str) -> tuple[Mapping[str, Any], str]:
    """A data set from the caches: the files that were fetched of the wished revision, else the tables that an earlier
    load has made.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    with contextlib.suppress(
        LocalEntryNotFoundError, HfHubHTTPError, HFValidationError, DataError, OSError, ValueError
    ):
        folder = Path(
            snapshot_download(
                source.dataset, repo_type="dataset", revision=source.revision or None, local_files_only=True
            )
        )
        return _load(source, str(folder), "")[0], folder.name
    asked = f" --revision {source.revision}" if source.revision else ""
    hint = FETCH.format(name=source.dataset, revision=asked)
    try:
        loaded, commit = _load(source, source.dataset, "")
    except DataError as error:
        raise HubUnreachable(
            f"{why}, and {source.description} is not in the cache of this machine ({_home()}).", hint
        ) from error
    if COMMIT.fullmatch(source.revision) and commit != source.revision:
        raise HubUnreachable(
            f"{why}, and the cache of this machine holds {source.description} at commit {commit[:12]}, not at"
            f" {source.revision[:12]}.",
            f"Take what is there by --revision {commit}. {hint}",
        )
    return loaded, commit


def _load(source: HubSource, where: str, revision: str) -> tuple[Mapping[str, Any], str]:
    """One call of `load_dataset`, at the commit that its builder has found. The token, if any, comes from the
    environment alone.
    """
    import datasets

    try:
        builder = datasets.load_dataset_builder(where, source.config or None, revision=revision or None)
        reader = type(builder).__module__.split(".")[-1]
        if reader not in (*READERS, "cache"):
            raise DataError(
                f"{source.description} is read by {reader!r}; expected tables ({', '.join(READERS)}).",
                "Export it to one of these first.",
            )
        commit = str(builder.hash) if COMMIT.fullmatch(str(builder.hash)) else ""
        loaded = datasets.load_dataset(where, source.config or None, revision=(commit or revision or None))
    except DataError:
        raise
    # `datasets` raises whatever its readers and its client raise.
    except Exception as error:
        raise _load_error(source, error) from error
    return (loaded if isinstance(loaded, Mapping) else {str(loaded.split or "train"): loaded}), commit


def _load_error(source: HubSource, error: Exception) -> DataError:
    """What went wrong at the hub, and what to do."""
    text = " ".join(str(error).split())[:400]
    if "scripts are no longer supported" in text:
        return _program(source, text.rpartition(" ")[2])
    kind = type(error).__name__
    if kind in ("DatasetNotFoundError", "RepositoryNotFoundError", "RevisionNotFoundError", "GatedRepoError"):
        return DataError(
            f"{source.description} cannot be had: {text}",
            "Check its name and revision. For a gated or private one, put a token into HF_TOKEN.",
        )
    if "Config name is missing" in text or "BuilderConfig" in text:
        return DataError(f"{source.dataset} has several configs: {text}", "Name one by --config.")
    if isinstance(error, (ConnectionError, TimeoutError)) or kind in (
        "ConnectError",
        "ConnectTimeout",
        "ReadTimeout",
        "LocalEntryNotFoundError",
    ):
        asked = f" --revision {source.revision}" if source.revision else ""
        return HubUnreachable(
            f"The hub broke off while {source.description} was read: {text}",
            FETCH.format(name=source.dataset, revision=asked),
        )
    return DataError(
        f"{source.description} cannot be loaded: {kind}: {text}",
        "Check config and revision, or export it to files and import these.",
    )


@contextlib.contextmanager
def _offline(datasets: Any) -> Iterator[None]:
    """Within it `datasets` looks into its caches only."""
    before = datasets.config.HF_HUB_OFFLINE
    datasets.config.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        datasets.config.HF_HUB_OFFLINE = before


def reachable() -> bool:
    """Whether the hub answers within seconds, through whatever proxy the environment names. What it answers does not
    matter.
    """
    connected = threading.Event()

    def ask() -> None:
        request = urllib.request.Request(os.environ.get("HF_ENDPOINT") or "https://huggingface.co", method="HEAD")
        try:
            urllib.request.urlopen(request, timeout=PROBE_SECONDS).close()
            connected.set()
        except urllib.error.HTTPError:
            connected.set()
        except urllib.error.URLError as error:
            # Somebody answered; whether to trust it is for the client to say.
            if isinstance(error.reason, ssl.SSLError):
                connected.set()
        except OSError:
            pass

    # A thread, since looking up a name knows no time limit.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(PROBE_SECONDS)
    return connected.is_set()


def _home() -> str:
    return os.environ.get("HF_HOME") or "~/.cache/huggingface"
