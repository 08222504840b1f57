"""Simulated futures of several series, and the frames they become.

Columns are Nixtla's (`unique_id, ds, mqc, mqc-lo-80, …`) or those of Chronos (`item_id, timestamp, predictions, …`).

Axis letters: M series  P paths  S steps  Q levels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from mqc_jax.forecasting.histories import Past

Of = Literal["price", "return", "step"]
Style = Literal["nixtla", "chronos"]
MODEL = "mqc"
DECILES = tuple(k / 10 for k in range(1, 10))


@dataclass(frozen=True, eq=False)
class Forecast:
    """Paths of M series behind their cut-offs."""

    run: str
    seed: int
    pasts: Sequence[Past]
    dates: Sequence[np.ndarray]  # (S,) stamps of the bars to come, of each series; empty where no calendar knows them
    in_sample: Sequence[bool]  # whether each cut-off lies in the years that the run was fitted on
    log_returns: np.ndarray  # (M, P, S)

    def values(self, of: Of = "price") -> np.ndarray:
        """Prices, log returns since the last bar, or those of each step, (M, P, S)."""
        if of == "step":
            return self.log_returns
        returns_MPS = np.cumsum(self.log_returns, axis=2)
        if of == "return":
            return returns_MPS
        last_M = np.array([past.prices[-1] for past in self.pasts])
        return last_M[:, None, None] * np.exp(returns_MPS)

    def nixtla(self, level: Sequence[float], quantiles: Sequence[float], of: Of, mean: bool) -> pd.DataFrame:
        """One row per series and bar: the median, the bands of each level, the quantiles, and the mean if asked for."""
        values_MPS = self.values(of)
        found = {MODEL: 0.5}
        for percent in level:
            found |= {f"{MODEL}-lo-{percent:g}": 0.5 - percent / 200, f"{MODEL}-hi-{percent:g}": 0.5 + percent / 200}
        found |= {f"{MODEL}-ql{q:g}": q for q in quantiles}
        columns = self._quantiles(values_MPS, found)
        if mean:
            columns[f"{MODEL}-mean"] = values_MPS.mean(axis=1).ravel()
        return self._framed({"unique_id": self._ids(1), "ds": np.concatenate(self.dates)} | columns, of)

    def chronos(self, quantiles: Sequence[float], of: Of) -> pd.DataFrame:
        """One row per series and bar: the median as `predictions`, and a column per quantile."""
        named = [past.price if of == "price" else "log_return" for past in self.pasts]
        columns = self._quantiles(self.values(of), {"predictions": 0.5} | {f"{q:g}": q for q in quantiles})
        head = {
            "item_id": self._ids(1),
            "timestamp": np.concatenate(self.dates),
            "target_name": np.repeat(named, self.log_returns.shape[2]),
        }
        return self._framed(head | columns, of)

    def long(self, of: Of) -> pd.DataFrame:
        """One row per series, path and bar."""
        m, n_paths, h = self.log_returns.shape
        columns = {
            "unique_id": self._ids(n_paths),
            "ds": np.concatenate([np.tile(dates, n_paths) for dates in self.dates]),
            "sample_id": np.tile(np.repeat(np.arange(n_paths), h), m),
            MODEL: self.values(of).ravel(),
        }
        return self._framed(columns, of)

    def _ids(self, repeats: int) -> np.ndarray:
        return np.repeat([past.unique_id for past in self.pasts], repeats * self.log_returns.shape[2])

    def _quantiles(self, values_MPS: np.ndarray, levels: dict[str, float]) -> dict[str, np.ndarray]:
        found_QMS = np.quantile(values_MPS, list(levels.values()), axis=1)
        return dict(zip(levels, found_QMS.reshape(len(levels), -1), strict=True))

    def _framed(self, columns: dict[str, Any], of: Of) -> pd.DataFrame:
        """The frame, with what it rests on in its `attrs`."""
        frame = pd.DataFrame(columns)
        names = [past.unique_id for past in self.pasts]
        frame.attrs = {
            "run": self.run,
            "of": of,
            "point": "median",
            "n_paths": self.log_returns.shape[1],
            "seed": self.seed,
            "cutoff": {past.unique_id: time_text(past.cutoff) for past in self.pasts},
            "price": {past.unique_id: past.price for past in self.pasts},
            "calendar": {past.unique_id: past.calendar.name for past in self.pasts},
            "in_sample": dict(zip(names, self.in_sample, strict=True)),
            "notes": [note for past in self.pasts for note in past.notes],
        }
        return frame


def time_text(time: np.datetime64) -> str:
    """Date, and the time of day where there is one."""
    return str(np.datetime_as_string(time, "m")).replace("T00:00", "").replace("T", " ")
