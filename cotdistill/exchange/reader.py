"""An archive from elsewhere as a file: opened, bounded, and every byte of it held against the manifest before anything
is believed.

Names of members are never used as paths: what is in an archive is read under the names that this module knows, and kept
under digests.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from cotdistill.config import digest
from cotdistill.errors import ArchiveTooNew, BadArchive, UsageError
from cotdistill.exchange.export import BLOCK, FORMAT, JOBS, MANIFEST, STUDY, SUFFIX, VERSION
from cotdistill.tasks.importing.task_bundle import FILE, SOURCE_FILE

MOST_MEMBERS = 50_000
# Bytes of the list of members, by far more than so many names need.
LARGEST_LIST = 300 * MOST_MEMBERS
LARGEST_JSON = 128 << 20
LARGEST_MEMBER = 64 << 30
# How much larger a member may be than what is stored of it. Exports store members as they are; other programs may pack
# them again.
MOST_RATIO = 100
NAME = re.compile(
    rf"{STUDY}|{JOBS}|artifacts/[0-9a-f]{{64}}\.(?:parquet|safetensors)|tasks/[A-Za-z0-9][A-Za-z0-9._-]{{0,63}}/[0-9a-f]{{64}}/(?:{FILE.pattern}|sources/[A-Za-z0-9][A-Za-z0-9._-]{{0,63}}/(?:{SOURCE_FILE.pattern}))"
)
AGAIN = "Ask for the archive again, or export it anew."


class ArchiveFile:
    """An open archive whose list of members and manifest have been checked; `check` reads all the rest."""

    def __init__(self, path: Path, file: IO[bytes]) -> None:
        self.path = path
        self._zip = _listed(path, file)
        self._infos = {info.filename: info for info in _safe(self._zip, path.stat().st_size)}
        if MANIFEST not in self._infos:
            raise BadArchive(
                f"{path.name} has no {MANIFEST}, so it is no archive of a study.",
                f"Expected a file made by: cotdistill study export NAME --out NAME{SUFFIX}",
            )
        self.manifest = self._manifest()
        self.digest = str(self.manifest["digest"])
        self.members: dict[str, str] = {m["name"]: m["sha256"] for m in self.manifest["members"]}

    @property
    def size(self) -> int:
        """Bytes of all members, unpacked."""
        return sum(self._infos[name].file_size for name in self.members)

    @property
    def artifacts(self) -> list[str]:
        """SHA256.SUFFIX of every artefact."""
        return [name.removeprefix("artifacts/") for name in self.members if name.startswith("artifacts/")]

    def check(self) -> None:
        """Read every member once and hold it against its digest; BadArchive for the first that differs."""
        for name, expected in self.members.items():
            total = hashlib.sha256()
            for block in self.blocks(name):
                total.update(block)
            if total.hexdigest() != expected:
                raise BadArchive(
                    f"{name} in {self.path.name} does not have the digest that the manifest states: it is damaged, or"
                    " was changed.",
                    AGAIN,
                )

    def blocks(self, name: str) -> Iterator[bytes]:
        """A member in blocks, never more than it was said to hold."""
        info = self._infos[name]
        left = info.file_size
        with _explained(self.path, name), self._zip.open(info) as file:
            while block := file.read(min(BLOCK, left + 1)):
                left -= len(block)
                if left < 0:
                    raise BadArchive(f"{name} in {self.path.name} is larger than it says.", AGAIN)
                yield block
        if left:
            raise BadArchive(f"{name} in {self.path.name} is shorter than it says.", AGAIN)

    def read(self, name: str, largest: int) -> bytes:
        """A whole member; BadArchive if it is larger than that."""
        if self._infos[name].file_size > largest:
            raise BadArchive(
                f"{name} in {self.path.name} has {self._infos[name].file_size:,} bytes; expected at most {largest:,}.",
                AGAIN,
            )
        return b"".join(self.blocks(name))

    def document(self, name: str) -> Any:
        """A JSON member."""
        try:
            document = json.loads(self.read(name, LARGEST_JSON).decode("utf-8"), parse_constant=_no_number)
            json.dumps(
                document, ensure_ascii=False
            ).encode()  # half a character can be written in JSON, and nowhere else
            return document
        except (ValueError, RecursionError) as error:
            raise BadArchive(f"{name} in {self.path.name} is not JSON: {error}", AGAIN) from error

    def _manifest(self) -> Mapping[str, Any]:
        manifest = self.document(MANIFEST)
        if (
            not isinstance(manifest, dict)
            or manifest.get("format") != FORMAT
            or type(manifest.get("version")) is not int
        ):
            raise BadArchive(
                f"{self.path.name} is no archive of a study: its {MANIFEST} does not say so.",
                f"Expected format {FORMAT!r}.",
            )
        if manifest["version"] > VERSION:
            by = str(manifest.get("written_by", "an unknown version"))[:40]
            raise ArchiveTooNew(
                f"{self.path.name} has format {manifest['version']}, written by cotdistill {by}; this version reads up"
                f" to {VERSION}.",
                "Update cotdistill.",
            )
        members = manifest.get("members")
        if not isinstance(members, list) or not all(_is_member(m) for m in members):
            raise BadArchive(
                f"The list of members in the {MANIFEST} of {self.path.name} is not what it should be.", AGAIN
            )
        try:
            right = digest({key: value for key, value in manifest.items() if key != "digest"}) == manifest.get("digest")
        except (ValueError, UnicodeEncodeError):
            right = False
        if not right:
            raise BadArchive(
                f"The {MANIFEST} of {self.path.name} does not have the digest that it states: it is damaged, or was"
                " changed.",
                AGAIN,
            )
        sizes = {m["name"]: m["size"] for m in members}
        there = {name: info.file_size for name, info in self._infos.items() if name != MANIFEST}
        if sizes != there or len(sizes) != len(members):
            odd = sorted(name for name in sizes.keys() | there.keys() if sizes.get(name) != there.get(name))
            raise BadArchive(
                f"{self.path.name} does not hold what its {MANIFEST} lists"
                f" ({', '.join(odd[:3]) or 'a name stands twice'}).",
                AGAIN,
            )
        if STUDY not in sizes or JOBS not in sizes:
            raise BadArchive(f"{self.path.name} lacks {STUDY} or {JOBS}.", AGAIN)
        return manifest


@contextlib.contextmanager
def opened(path: Path) -> Iterator[ArchiveFile]:
    """An archive; UsageError if there is no such file, BadArchive for what is none."""
    try:
        file = path.open("rb")
    except OSError as error:
        raise UsageError(
            f"{path} cannot be read: {error.strerror or error}.", "Name an archive that `study export` wrote."
        ) from error
    with file:
        yield ArchiveFile(path, file)


def _no_number(text: str) -> None:
    raise ValueError(f"{text} is no number of JSON")


def _is_member(entry: Any) -> bool:
    return (
        isinstance(entry, dict)
        and isinstance(entry.get("name"), str)
        and type(entry.get("size")) is int
        and isinstance(entry.get("sha256"), str)
        and re.fullmatch("[0-9a-f]{64}", entry["sha256"]) is not None
    )


def _listed(path: Path, file: IO[bytes]) -> zipfile.ZipFile:
    """The zip with its list of members, once it is known that the list is of a bearable size: it is read into memory as
    a whole.
    """
    size = path.stat().st_size
    file.seek(max(0, size - 22))
    end = file.read(22)
    if len(end) < 22 or end[:4] != b"PK\x05\x06":
        known = "It is shorter than it was, or not a zip file." if end else "It is empty."
        raise BadArchive(f"{path.name} is no archive of a study. {known}", AGAIN)
    length = struct.unpack("<L", end[12:16])[0]
    if length == 0xFFFFFFFF or size >= 0xFFFFFFFF:
        file.seek(max(0, size - 22 - 20 - 56))
        wide = file.read(56)
        length = struct.unpack("<Q", wide[40:48])[0] if wide[:4] == b"PK\x06\x06" else length
    if length > LARGEST_LIST:
        raise BadArchive(
            f"{path.name} lists its members in {length:,} bytes; expected at most {LARGEST_LIST:,}.", AGAIN
        )
    with _explained(path, "its list of members"):
        return zipfile.ZipFile(file)


def _safe(archive: zipfile.ZipFile, size: int) -> list[zipfile.ZipInfo]:
    """The members, each of which is a plain file under a name that archives have; BadArchive for the first that is
    not.
    """
    infos = archive.infolist()
    if len(infos) > MOST_MEMBERS:
        raise BadArchive(f"The archive has {len(infos):,} members; expected at most {MOST_MEMBERS:,}.", AGAIN)
    seen: set[str] = set()
    for info in infos:
        shown = info.orig_filename[:120]
        if info.orig_filename != info.filename or not (info.filename == MANIFEST or NAME.fullmatch(info.filename)):
            raise BadArchive(
                f"The archive holds {shown!r}, which is no name of a member. Nothing was read from it.", AGAIN
            )
        if info.filename.casefold() in seen:
            raise BadArchive(f"The archive holds {shown!r} twice.", AGAIN)
        seen.add(info.filename.casefold())
        mode = info.external_attr >> 16
        if (mode and stat.S_IFMT(mode) not in (0, stat.S_IFREG)) or info.is_dir():
            raise BadArchive(f"The archive holds {shown!r} as a link or a folder; expected plain files.", AGAIN)
        if info.flag_bits & 0x1 or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise BadArchive(
                f"The archive holds {shown!r} encrypted, or packed in a way that is not read here.",
                "Unpack it, and pack it as plain zip.",
            )
        if info.file_size > LARGEST_MEMBER or info.file_size > MOST_RATIO * max(info.compress_size, 64):
            raise BadArchive(
                f"The archive says that {shown!r} unpacks from {info.compress_size:,} to {info.file_size:,} bytes: too"
                " much.",
                AGAIN,
            )
    if sum(info.compress_size for info in infos) > size:
        raise BadArchive("The members of the archive overlap.", AGAIN)
    return infos


@contextlib.contextmanager
def _explained(path: Path, what: str) -> Iterator[None]:
    """What goes wrong inside a zip, in words."""
    try:
        yield
    except (
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        struct.error,
        NotImplementedError,
        RuntimeError,
        UnicodeDecodeError,
        OverflowError,
        ValueError,
    ) as error:
        raise BadArchive(f"{path.name} is damaged: {what} cannot be read ({error}).", AGAIN) from error
    except OSError as error:
        raise BadArchive(f"{path.name} cannot be read: {error.strerror or error}.", AGAIN) from error
