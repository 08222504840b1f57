"""Seals: what every file of a directory held when it was whole, so that damage of any kind is noticed later.

The seal is itself a file, written last; a directory without a valid one was never finished, or is no longer whole.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from data_pipeline.errors import DamagedData
from data_pipeline.storage import replace_file

SEAL = "seal.json"


def write_seal(directory: Path, note: dict[str, Any]) -> None:
    """Record the size and SHA-256 of every file, and beside them `note`, which is protected as well."""
    files = {
        path.relative_to(directory).as_posix(): {"bytes": path.stat().st_size, "sha256": _sha256(path)}
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }
    replace_file(directory / SEAL, _encoded({"note": note, "files": files}))


def read_seal(directory: Path) -> dict[str, Any]:
    """The seal, whole as it was written. Raises DamagedData."""
    try:
        content = (directory / SEAL).read_bytes()
    except OSError:
        raise DamagedData("it has no seal") from None
    try:
        seal = json.loads(content)
        if content == _encoded({"note": seal["note"], "files": seal["files"]}):
            return seal
    except (ValueError, TypeError, KeyError):
        pass
    raise DamagedData(f"{SEAL} is not what was written")


def check_files(directory: Path, seal: dict[str, Any], *, contents: bool) -> None:
    """Raise DamagedData naming the first file that is not what was sealed: by its size, or by all its bytes."""
    for name, sealed in seal["files"].items():
        path = directory / name
        try:
            size = path.stat().st_size
            same = size == sealed["bytes"] and (not contents or _sha256(path) == sealed["sha256"])
        except OSError as error:
            raise DamagedData(f"{name} cannot be read ({error.strerror})") from None
        if not same:
            lost = f"has {size} bytes of {sealed['bytes']}" if size != sealed["bytes"] else "is not what was written"
            raise DamagedData(f"{name} {lost}")


def _encoded(seal: dict[str, Any]) -> bytes:
    """One text per seal, with the digest of the rest at its end: no byte can change unnoticed."""
    digest = hashlib.sha256(json.dumps(seal, allow_nan=False).encode()).hexdigest()
    return json.dumps(seal | {"sha256": digest}, indent=1, allow_nan=False).encode()


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
