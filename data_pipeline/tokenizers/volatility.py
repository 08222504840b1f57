"""The default tokenizer: returns in units of the volatility known before them.

Scaling takes the level of volatility out of the tokens, so bins mean the same in calm and in crisis, for an index and
for crude oil; the level comes back as a float input. Tails are cut finely, because risk lives there.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from data_pipeline.tokenizers.base import ReturnTokenizer

TAIL = np.array([0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0]) / 100
CENTRE = np.linspace(0.01, 0.99, 113)[1:-1]


class VolatilityTokenizer(ReturnTokenizer):
    """128 bins of EWMA-scaled returns: 112 of equal mass between the 1 % and 99 % quantiles, 8 in each tail.

    Every second edge is the 64-bin partition on which scores are compared.
    """

    kind: ClassVar[str] = "volatility"
    levels: ClassVar[np.ndarray] = np.concatenate([TAIL, CENTRE, 1 - TAIL[::-1]])

    @staticmethod
    def _location_and_scale(returns: np.ndarray, volatility: np.ndarray) -> tuple[float, np.ndarray]:
        return float(np.mean(returns)), volatility

    def scale_of(self, volatility: Any) -> Any:
        return volatility
