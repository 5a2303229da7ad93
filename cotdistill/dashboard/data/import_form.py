"""Import of a task: a folder or file by path, or dropped files. The work is done by the terminal's own command in a
process of its own.
"""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import streamlit as st
from streamlit.runtime.uploaded_file_manager import UploadedFile

from cotdistill.dashboard import frame
from cotdistill.dashboard.data import map_form
from cotdistill.errors import CotdistillError
from cotdistill.report.commands import carried_out, command
from cotdistill.store.store import Store
from cotdistill.tasks.importing.columns import ColumnMap
from cotdistill.tasks.importing.files import FORMATS, find_files, rows_files, source_name
from cotdistill.tasks.importing.preview import Preview, preview_source
from cotdistill.text import plain_markdown

# In the session: the dropped files by their ids, and the folder that holds them.
DROPPED = "import.dropped"
# What a task says it was imported from.
FOLDER = "dropped files"
# What a link says of one task only.
BELONGS = ("source", "example")
SPLITS = {"train": "Training files", "dev": "Dev files", "test": "Test files"}


def draw(store: Store) -> None:
    """The form: where from, which file is which split, which column is what, the first rows as read; then the import
    with its bad rows. The imported task becomes the one shown.
    """
    st.caption(
        "A folder with files of train, dev and test, and rationales/SPLIT.SOURCE.jsonl if there are more; or one file: "
        f"{', '.join(FORMATS)}, text also as gz."
    )
    typed = st.text_input("Folder or file on this machine", key="import.path", placeholder="/data/commonsenseqa")
    dropped = st.file_uploader(
        "or drop files: one, or those of all splits, with labels in a file of their own (dev.jsonl and dev-labels.lst)",
        type=[*FORMATS, "gz", "lst"],
        accept_multiple_files=True,
        key="import.file",
    )
    if not typed.strip() and not dropped:
        return
    path = _folder_of(dropped) if dropped else Path(typed.strip()).expanduser()
    if len(dropped) == 1:
        path /= Path(dropped[0].name).name
    try:
        splits = _splits(path)
        guess = _previewed(path, {}, splits)
        missing = bool(guess.guessed.missing() or guess.error)
        changes = map_form.edited(guess.columns, guess.guessed, missing=missing)
        preview = _previewed(path, changes, splits) if changes else guess
    except CotdistillError as error:
        map_form.problem({"message": error.message, "hint": error.hint})
        return
    map_form.show(preview.document())
    named = dropped[0].name if dropped else path.name
    words = ["tasks", "import", str(path), *_split_words(splits), *map_form.words_of(changes)]
    finish(
        words,
        source_name(named.split(".")[0]),
        "import",
        lambda all_words: carried_out(store, all_words),
        "FILE" if dropped else "",
    )


@dataclass(frozen=True)
class _Dropped:
    """Dropped files: their ids, and the folder that holds them for as long as this object lives."""

    files: tuple[str, ...]
    folder: Path


def _folder_of(dropped: Sequence[UploadedFile]) -> Path:
    """A folder with the dropped files, the same for as long as they are: what a person chooses for its files stays, and
    they are not read anew with every click. It goes with the session, or when others are dropped.
    """
    files = tuple(file.file_id for file in dropped)
    held: _Dropped | None = st.session_state.get(DROPPED)
    if held is None or held.files != files:
        root = Path(tempfile.mkdtemp())
        held = _Dropped(files, root / FOLDER)
        weakref.finalize(held, shutil.rmtree, root, ignore_errors=True)
        held.folder.mkdir()
        for file in dropped:
            (held.folder / Path(file.name).name).write_bytes(file.getvalue())
        st.session_state[DROPPED] = held
    return held.folder


def _splits(path: Path) -> dict[str, str]:
    """Which files of a folder are which split, where a person says otherwise than their names."""
    if not path.is_dir():
        return {}
    files = [file.name for file in rows_files(path)]
    try:
        usual = {split: [file.name for file in of_split] for split, of_split in find_files(path).main.items()}
    except CotdistillError as error:
        if not files:
            raise
        usual = {}
        st.caption(plain_markdown(error.message))
    with st.expander("Splits", expanded=not usual):
        chosen = {
            split: st.multiselect(label, files, usual.get(split, []), key=f"import.splits.{path}.{split}")
            for split, label in SPLITS.items()
        }
    named = {split: "+".join(names) for split, names in chosen.items() if names}
    return {} if chosen == {split: usual.get(split, []) for split in SPLITS} else named


def _split_words(splits: Mapping[str, str]) -> list[str]:
    return ["--splits", ",".join(f"{ours}={names}" for ours, names in splits.items())] if splits else []


def _previewed(path: Path, changes: Mapping[str, Any], splits: Mapping[str, str]) -> Preview:
    """The preview, read anew only where files or settings are others."""
    files = rows_files(path) if path.is_dir() else [path]
    stamps = tuple((file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files if file.exists())
    return _cached_preview(str(path), stamps, tuple(changes.items()), tuple(splits.items()))


@st.cache_data(max_entries=4, show_spinner="Reading the first rows…")
def _cached_preview(
    path: str, stamps: tuple[Any, ...], changes: tuple[tuple[str, Any], ...], splits: tuple[tuple[str, str], ...]
) -> Preview:
    return preview_source(Path(path), dict(changes), dict(splits))


def finish(
    words: list[str], suggested: str, key: str, run: Callable[[list[str]], dict[str, Any]], shown_path: str = ""
) -> None:
    """The end of both forms: name, bad rows, order of the choices, and the button. words: the command so far; suggested:
    a name, which follows what is imported until a person writes another; shown_path: what stands for a path that only
    this page knows.
    """
    if st.session_state.get(f"{key}.task") in (None, "", st.session_state.get(f"{key}.suggested")):
        st.session_state[f"{key}.task"] = suggested
    st.session_state[f"{key}.suggested"] = suggested
    name = st.text_input("Name of the task", key=f"{key}.task")
    left, right = st.columns(2)
    keep = left.toggle("Import the good rows if some are bad", key=f"{key}.keep")
    shuffle = right.toggle(
        "Shuffle the choices", key=f"{key}.shuffle", help="For data whose right choice always stands in one place."
    )
    seed = right.number_input("Seed of the order", min_value=0, step=1, key=f"{key}.seed") if shuffle else None
    words = [*words[:3], "--name", name.strip(), *words[3:], *(["--keep-good-rows"] if keep else [])]
    words += ["--shuffle-choices", str(int(seed))] if seed is not None else []
    if st.button("Import", type="primary", key=f"{key}.go"):
        with st.spinner("Reading rows and training tokenizers…"):
            show_result(run(words))
    frame.terminal(command(*words[:2], shown_path or words[2], *words[3:]))


def show_result(document: dict[str, Any]) -> None:
    """What came of an import; the imported task becomes the one that is shown."""
    if error := document.get("error"):
        map_form.problem(error)
        return
    rows = ", ".join(f"{split} {count:,} ({document['roles'].get(split, '')})" for split, count in document["rows"].items())
    st.success(plain_markdown(f"Imported {document['task']}: {rows}."), icon=":material/check:")
    # The page below shows what has just been imported.
    st.query_params["task"] = document["task"]
    for name in BELONGS:
        st.query_params.pop(name, None)
    read_as = " ".join(f"{field}={column}" for field, column in ColumnMap(**document["columns"]).set_fields().items())
    st.caption(plain_markdown(f"Read as {read_as}; answers as {document['answers']}."))
    for warning in document["warnings"]:
        st.caption(plain_markdown(map_form.in_page_words(warning)))
    if document["problems"]:
        st.dataframe(pd.DataFrame(document["problems"]), hide_index=True)
