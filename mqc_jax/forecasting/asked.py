"""What a caller asks for, checked before anything is read."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any, get_args

import numpy as np

from data_pipeline.errors import BadInput


def whole(name: str, value: Any, least: int, most: int) -> int:
    """The number, as int. Raises BadInput unless it is a whole one from `least` to `most`."""
    try:
        number = operator.index(value)
    except TypeError:
        raise BadInput(f"{name}={value!r} must be a whole number") from None
    if not least <= number <= most:
        raise BadInput(f"{name}={number} must be from {least} to {most}")
    return number


def check_choice(name: str, value: str, choices: Any) -> None:
    """Raise BadInput unless `value` is one of the Literal `choices`."""
    if value not in get_args(choices):
        raise BadInput(f"{name}={value!r} must be one of {', '.join(get_args(choices))}")


def check_levels(level: Sequence[float], quantiles: Sequence[float]) -> None:
    """Raise BadInput for a width outside (0, 100) %, a quantile outside (0, 1), and one that is there twice."""
    for name, values, most, example in (("level", level, 100, "80"), ("quantiles", quantiles, 1, "0.05")):
        if not isinstance(values, Sequence | np.ndarray) or isinstance(values, str):
            raise BadInput(f"{name}={values!r} must be a list, like [{example}]")
        for value in values:
            if not isinstance(value, int | float | np.number) or not 0 < value < most:
                raise BadInput(f"{name} {value!r} must lie between 0 and {most}, both excluded; like {example}")
        if len(set(values)) < len(values):
            raise BadInput(f"{name} {list(values)}: one of them is there twice; leave it out")
