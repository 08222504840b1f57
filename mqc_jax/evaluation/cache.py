"""Names for results that are kept on disk: hashes of everything they depend on, the code that makes them included."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.metadata import version
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[2]


def content_hash(*parts: str | np.ndarray) -> str:
    """The first 24 hex digits of the SHA-256 of texts and arrays."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.encode() if isinstance(part, str) else np.ascontiguousarray(part).tobytes())
        digest.update(b"\0")
    return digest.hexdigest()[:24]


@cache
def code_hash(sources: tuple[str, ...], libraries: tuple[str, ...]) -> str:
    """Of this project's files, or all those in a folder, and of the versions of the libraries they use."""
    files = [file for source in sources for file in sorted((ROOT / source).rglob("*.py")) or [ROOT / source]]
    return content_hash(*(file.read_text(encoding="utf-8") for file in files), *map(version, libraries))
