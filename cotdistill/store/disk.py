"""The disk under a store: full, read-only or on the network, each in words."""

from __future__ import annotations

import contextlib
import errno
import os
import re
from collections.abc import Iterator
from pathlib import Path

from cotdistill.errors import DiskFull, NetworkFileSystem, StoreError

# File systems on which locks or SQLite's shared memory cannot be trusted, as the kernel names them.
NETWORK = frozenset(
    "nfs nfs3 nfs4 cifs smb smb2 smb3 smbfs ncpfs afs lustre beegfs gpfs ceph glusterfs orangefs pvfs2 panfs 9p davfs"
    " webdav fuse.sshfs fuse.glusterfs fuse.ceph fuse.ceph-fuse fuse.davfs fuse.rclone fuse.s3fs fuse.gcsfuse"
    " fuse.goofys fuse.juicefs fuse.curlftpfs fuse.mfs fuse.lizardfs fuse.afpfs fuse.smbnetfs".split(" ")
)
OVERRIDE = "COTDISTILL_ALLOW_NETWORK_HOME"


@contextlib.contextmanager
def disk_errors(folder: Path, what: str) -> Iterator[None]:
    """Turn the system's errors into words: DiskFull for a full disk or quota, StoreError for the rest."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise disk_full(folder, what) from error
        if error.errno in (errno.EEXIST, errno.ENOTDIR):
            raise StoreError(
                f"{folder} is a file, or lies in one; expected a folder.", "Set COTDISTILL_HOME to a folder."
            ) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise StoreError(
                f"{folder} may not be written to.",
                "Allow it, or set COTDISTILL_HOME to a folder that you may write to.",
            ) from error
        raise StoreError(
            f"{what.capitalize()} cannot be written to {folder}: {error.strerror or error}.", "Check the disk."
        ) from error


def disk_full(folder: Path, what: str) -> DiskFull:
    return DiskFull(
        f"There is no room left on the disk of {folder} to write {what}.",
        "Free some room (delete runs that are not needed), or move the store (COTDISTILL_HOME); then resume the run: it"
        " goes on where it was.",
    )


def refuse_network(home: Path, mountinfo: Path = Path("/proc/self/mountinfo")) -> None:
    """NetworkFileSystem if the folder (or the part of its path that exists) lies on a network file system; silent where
    Linux's table is absent.
    """
    if os.environ.get(OVERRIDE) == "1":
        return
    kind = file_system(home, mountinfo)
    if kind in NETWORK:
        raise NetworkFileSystem(
            f"The store {home} lies on a network file system ({kind}), where locks and SQLite cannot be trusted: runs"
            " could be lost or doubled.",
            "Set COTDISTILL_HOME to a folder on a local disk. "
            f"If the file system keeps locks and shared memory, and a single machine uses the store: {OVERRIDE}=1.",
        )


def file_system(folder: Path, mountinfo: Path) -> str:
    """The type of the file system that holds a folder ("ext4", "nfs4" ...); "" if the table cannot be read. The last
    mount on a place wins.
    """
    try:
        lines = mountinfo.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return ""
    resolved = folder.resolve()
    best, kind = -1, ""
    for line in lines:
        left, dash, right = line.partition(" - ")
        fields = left.split(" ")
        if not dash or len(fields) < 5:
            continue
        # Spaces and backslashes in a path are written as octal numbers.
        point = Path(re.sub(r"\\([0-7]{3})", lambda match: chr(int(match.group(1), 8)), fields[4]))
        if len(point.parts) >= best and resolved.is_relative_to(point):
            best, kind = len(point.parts), right.split(" ")[0]
    return kind
