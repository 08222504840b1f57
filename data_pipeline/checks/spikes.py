"""One bad price among good ones: away, and back at the next bar."""

from __future__ import annotations

import numpy as np

from data_pipeline.checks.history import History

SIGMAS, SIGMAS_IF_UNTRADED = 10, 6  # a spike moves by more; the latter where high and low show no trade near it
LEAST_MOVE = 0.002  # and by more than this
RETURN_SIGMAS, RETURN_SHARE = 5, 0.25  # and the next bar takes it back to within both, the share being of the move
SIDE = 5  # bars on either side that say where the price really was, and whether the days were wild
NEAR_SIGMAS = 5  # as SIGMAS, but of the moves of those few bars


def spikes(history: History) -> np.ndarray:
    """Rows (K,) of single bars that are away from both their neighbours, which agree with each other.

    With open, high and low known, the bars on either side must also never have traded half the way to it: a real move
    that is taken back leaves its trace in the next bar. Never the first or the last bar: nothing shows which is wrong.
    """
    into, out = history.log_returns[1:-1], history.log_returns[2:]
    sigma = np.fmax(history.sigma[1:-1], history.sigma[2:])
    smaller, net = np.minimum(np.abs(into), np.abs(out)), np.abs(into + out)
    back = (into * out < 0) & (net <= np.minimum(RETURN_SIGMAS * sigma, RETURN_SHARE * smaller))
    row = 1 + np.flatnonzero(back & (smaller > np.maximum(SIGMAS_IF_UNTRADED * sigma, LEAST_MOVE)))
    untraded, known = _untraded_by_neighbours(history, row)
    far = smaller[row - 1] > SIGMAS * sigma[row - 1]
    return row[_stands_out(history, row) & untraded & (known | far)]


def _stands_out(history: History, row: np.ndarray) -> np.ndarray:
    """Which of `row` are far from the bars around, and moved by far more than those did; (K,) bool.

    Tells a bad bar from the good one between two bad ones, and a day in March 2020 from a bad bar.
    """
    level = np.cumsum(history.log_returns)
    distance = np.abs(level[row] - _median(level, row[:, None] + np.r_[-SIDE:0, 1 : SIDE + 1]))
    near = 1.4826 * _median(np.abs(history.log_returns), row[:, None] + np.r_[-SIDE:0, 2 : SIDE + 2])
    move = np.abs(history.log_returns[row])
    return (distance > move / 2) & (move > NEAR_SIGMAS * near)


def _median(values: np.ndarray, index: np.ndarray) -> np.ndarray:
    """Of the values (T,) at each row of `index` (K, W), as far as they are there."""
    inside = (index >= 0) & (index < len(values))
    return np.nanmedian(np.where(inside, values[np.where(inside, index, 0)], np.nan), axis=1)


def _untraded_by_neighbours(history: History, row: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Whether no open, high or low beside it came half the way to the spike, and whether they are known; (K,)."""
    move = history.log_returns[row]
    half_way = history.columns["close"][row - 1] * np.exp(move / 2)
    untraded, known = np.ones(len(row), bool), np.ones(len(row), bool)
    for name in ("open", "high", "low"):
        for neighbour in (row - 1, row + 1):
            price = history.columns[name][neighbour] if name in history.columns else np.full(len(row), np.nan)
            untraded &= ~np.where(move > 0, price >= half_way, price <= half_way)
            known &= np.isfinite(price)
    return untraded, known
