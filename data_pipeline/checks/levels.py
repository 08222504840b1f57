"""Jumps to another level of price: splits nobody adjusted for, changes of unit, and moves too large to pass unseen."""

from __future__ import annotations

import numpy as np

from data_pipeline.checks.history import History

JUMP_SIGMAS = 8  # smaller jumps are the market's
SPLITS = (5 / 4, 4 / 3, 3 / 2, 2.0, 5 / 2, *map(float, range(3, 11)), 12.0, 15.0, 20.0, 25.0, 30.0, 40.0, 50.0)
SPLIT_SIGMAS, SPLIT_TOLERANCE = 3, (0.01, 0.1)  # the day's own return beside the split; least and most allowed
CLEAR_SPLIT = 2.0  # smaller ratios occur in crashes too and are judged more strictly
ORDINARY, ORDINARY_IF_CLEAR = 2, 4  # times the usual range and turnover of a bar: more is news, not a split
PERSISTENCE, BACKGROUND = 5, 20  # bars after, that must stay at the level; bars before, that say what is usual
TEN = np.log(10)
UNIT_SIGMAS, UNIT_TOLERANCE = 4, (0.1, 0.5)
LARGE, LARGE_SIGMAS = 0.4, 10


def unit_changes(history: History, settled: np.ndarray) -> np.ndarray:
    """Rows (K,) where the price jumps by a power of ten: 100 or more, or 10 that a later jump takes back.

    `settled`: (T,) bool, rows that another check has explained; so in all functions here.
    """
    row = _jumps(history, settled)
    move = history.log_returns[row]
    power = np.rint(move / TEN)
    tolerance = np.clip(UNIT_SIGMAS * history.sigma[row], *UNIT_TOLERANCE)
    fits = (power != 0) & (np.abs(move - power * TEN) <= tolerance)
    row, power = row[fits], power[fits]
    opposite = power[1:] == -power[:-1]
    paired = np.concatenate([opposite, [False]]) | np.concatenate([[False], opposite])
    return row[(np.abs(power) > 1) | paired[: len(row)]]


def recorded_splits(history: History, settled: np.ndarray) -> np.ndarray:
    """Rows (K,) with a ratio in the `split` column, whose return is nearer to that ratio than to nothing."""
    split = history.columns.get("split")
    if split is None:
        return np.zeros(0, int)
    row = np.flatnonzero(np.isfinite(split) & (split > 0) & (split != 1) & ~settled)
    expected, move = -np.log(split[row]), history.log_returns[row]
    told_apart = np.abs(expected) > UNIT_SIGMAS * history.sigma[row]
    return row[told_apart & (np.abs(move - expected) < np.abs(move))]


def likely_splits(history: History, settled: np.ndarray) -> np.ndarray:
    """Rows (K,) that jump by the ratio of a usual split to a level that lasts.

    Upwards only whole ratios (reverse splits). In a split nothing but the price changes: what is known of the bar's
    open, range and turnover must be ordinary, and something must be known for ratios under `CLEAR_SPLIT`.
    """
    row = _jumps(history, settled)
    move = history.log_returns[row]
    log_ratio = np.log([*SPLITS, *(1 / s for s in SPLITS if s == int(s))])
    nearest = np.argmin(np.abs(move[:, None] + log_ratio), axis=1)
    tolerance = np.clip(SPLIT_SIGMAS * history.sigma[row], *SPLIT_TOLERANCE)
    fits = np.abs(move + log_ratio[nearest]) <= tolerance
    row, log_ratio, tolerance = row[fits], log_ratio[nearest][fits], tolerance[fits]
    clear = np.abs(log_ratio) > np.log(CLEAR_SPLIT) - 1e-9
    opens_there = _opens_at(history, row, log_ratio, np.where(clear, tolerance, tolerance / 2))
    ordinary = _ordinary_bar(history, row, clear)
    return row[opens_there & _lasts(history, row) & ordinary]


def large_moves(history: History, settled: np.ndarray) -> np.ndarray:
    """Rows (K,) with |log return| > 0.4, or > 0.4 √(days since the bar before) and ten times its usual size."""
    size = np.abs(history.log_returns)
    scaled = (size > LARGE * np.sqrt(np.minimum(history.days, 1))) & (size > LARGE_SIGMAS * history.sigma)
    return np.flatnonzero(((size > LARGE) | scaled) & ~settled)


def _jumps(history: History, settled: np.ndarray) -> np.ndarray:
    return np.flatnonzero((np.abs(history.log_returns) > JUMP_SIGMAS * history.sigma) & ~settled)


def _opens_at(history: History, row: np.ndarray, log_ratio: np.ndarray, tolerance: np.ndarray) -> np.ndarray:
    """Whether the bar opens where the split puts the close before, as far as the open is known; (K,)."""
    if "open" not in history.columns:
        return np.ones(len(row), bool)
    opened = history.columns["open"][row] / history.columns["close"][row - 1]
    return ~(np.abs(opened * np.exp(log_ratio) - 1) > tolerance)


def _lasts(history: History, row: np.ndarray) -> np.ndarray:
    """Whether the median of the next bars stays with the new level; not at the last bar, which none follow."""
    level = np.cumsum(history.log_returns)
    later = np.minimum(row[:, None] + np.arange(1, PERSISTENCE + 1), len(level) - 1)
    drift = np.median(level[later], axis=1) - level[row]
    return (np.abs(drift) < 0.5 * np.abs(history.log_returns[row])) & (row < len(level) - 1)


def _ordinary_bar(history: History, row: np.ndarray, clear: np.ndarray) -> np.ndarray:
    """Whether range and turnover are usual as far as they are known; one must be, unless the split is `clear`; (K,)."""
    columns, values = history.columns, []
    if "high" in columns and "low" in columns:
        values.append((columns["high"] - columns["low"]) / columns["close"])
    if "volume" in columns:
        values.append(columns["volume"] * columns["close"])
    ordinary, known = np.ones(len(row), bool), clear.copy()
    before = np.maximum(row[:, None] - np.arange(1, BACKGROUND + 1), 0)
    for value in values:
        usual = np.median(value[before], axis=1)
        told = (usual > 0) & np.isfinite(value[row])
        ordinary &= ~told | (value[row] <= np.where(clear, ORDINARY_IF_CLEAR, ORDINARY) * usual)
        known |= told
    return ordinary & known
