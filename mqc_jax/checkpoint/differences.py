"""What two JSON values do not have in common, by name."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

ABSENT = "absent"


def differences(there: Any, here: Any) -> dict[str, tuple[Any, Any]]:
    """The keys, like `model.n_embd` or `edges.3`, under which two JSON values differ, with both of what they hold."""
    a, b = dict(_leaves(there)), dict(_leaves(here))
    pairs = {key: (a.get(key, ABSENT), b.get(key, ABSENT)) for key in [*a, *(b.keys() - a.keys())]}
    return {key: pair for key, pair in sorted(pairs.items()) if pair[0] != pair[1]}


def in_words(found: dict[str, tuple[Any, Any]]) -> str:
    """The first three of `differences`, and how many more there are."""
    named = [f"{key} is {there} there, {here} here" for key, (there, here) in list(found.items())[:3]]
    return "; ".join(named) + (f"; and {len(found) - 3} more" if len(found) > 3 else "")


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if not (isinstance(value, dict | list) and value):
        yield path, value
        return
    for key, part in value.items() if isinstance(value, dict) else enumerate(value):
        yield from _leaves(part, f"{path}.{key}" if path else str(key))
