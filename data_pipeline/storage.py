"""Files that are there whole or not at all."""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from data_pipeline.errors import BadInput, DamagedData


@contextmanager
def new_directory(path: Path) -> Iterator[Path]:
    """A fresh directory that becomes `path` when the block ends well, and vanishes when it does not.

    Raises BadInput when `path` is already there.
    """
    if path.exists():
        raise BadInput(f"{path} exists and stays as it is; choose another place")
    missing = [parent for parent in path.parents if not parent.exists()]
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}-{secrets.token_hex(4)}")
    partial.mkdir()
    try:
        yield partial
        partial.rename(path)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        with suppress(OSError):  # another has put something there
            for parent in missing:
                parent.rmdir()
        raise


def reserve(path: Path) -> None:
    """Take the disk space that a sparse file claims: a full disk is an OSError here, and a bus error later on."""
    if hasattr(os, "posix_fallocate"):  # not on every system
        with open(path, "r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)


def sync(directory: Path) -> None:
    """Make all that a directory holds durable: it outlives a power cut from here on."""
    for path in [*directory.rglob("*"), directory]:
        _sync_one(path)


def move(source: Path, target: Path) -> None:
    """Rename at once and durably, within one file system."""
    source.rename(target)
    for parent in {source.parent, target.parent}:
        _sync_one(parent)


def _sync_one(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def read_json(path: Path) -> Any:
    """Parse a JSON file. Raises DamagedData naming it when it cannot be parsed."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DamagedData(f"{path}: not readable JSON ({error}); bring it back from a copy, or make it again") from None


def write_json(path: Path, value: Any) -> None:
    """Write strict JSON (no NaN) in place of what was there."""
    replace_file(path, (json.dumps(value, indent=2, allow_nan=False) + "\n").encode())


def replace_file(path: Path, content: bytes) -> None:
    """Put `content` in place of what `path` held."""
    with replacing(path) as file:
        file.write(content)


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """A file to write that takes the name `path` when the block ends well, on disk whole: there is never a half.

    A writer that is killed leaves a hidden file that ends in .tmp.
    """
    partial = path.with_name(f".{path.name}-{secrets.token_hex(4)}.tmp")
    try:
        with open(partial, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
