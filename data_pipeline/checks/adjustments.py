"""Adjusted closes that no dividend or split explains, and dividends that they leave out."""

from __future__ import annotations

import numpy as np

from data_pipeline.checks.finding import Finding, Reporter
from data_pipeline.checks.history import History
from data_pipeline.checks.levels import JUMP_SIGMAS, SPLITS

NEGLIGIBLE = 1e-4  # of log return, besides what the printed decimals allow
CONVENTION = 0.1  # of the dividend: vendors divide it by different closes
BREAK_SIGMAS = 4  # an adjustment wrong by more than this makes a return of its own


def report_adjustments(history: History, report: Reporter) -> tuple[np.ndarray, list[Finding]]:
    """Where the adjusted return must not be used, (T,) bool, and one finding per wrong adjustment.

    What the adjusted return has over the price return must be −ln(1 − dividend / close before), or a split that the
    price shows; without a `dividend` column it must only not be negative. And the price must fall by a payout large
    enough to be seen: it does not when a dividend is 100 times too high, or a split is adjusted for twice.
    """
    columns = history.columns
    if "adj_close" not in columns:
        return np.zeros(len(history.times), bool), []
    adjusted, close = history.log_returns, columns["close"]
    price = np.diff(np.log(close), prepend=np.log(close[:1]))
    excess = adjusted - price
    paid = np.nan_to_num(columns["dividend"]) if "dividend" in columns else np.zeros(len(close))
    share = paid / np.concatenate([close[:1], close[:-1]])
    expected = -np.log1p(-np.minimum(share, 0.999))
    error = excess - expected
    if "dividend" not in columns:
        error = np.minimum(error, 0)
    unexplained = np.abs(error) > NEGLIGIBLE + _printing_error(columns) + CONVENTION * expected
    unexplained[0] = False
    odd = np.flatnonzero(unexplained)
    unexplained[odd] = ~_shows_split(history, odd, (excess - expected)[odd], price[odd])
    unanswered = (np.abs(excess) > JUMP_SIGMAS * history.sigma) & (np.abs(price) < np.abs(adjusted))
    cut = unanswered | (unexplained & (np.abs(error) > BREAK_SIGMAS * history.sigma))
    known = "dividend {:g} explains {:+.2%}" if "dividend" in columns else "no dividends are given"

    def findings(where: np.ndarray, action: str) -> list[Finding]:
        rows = np.flatnonzero(where)
        evidence = [
            f"adjusted log return {adjusted[t]:+.2%}, price {price[t]:+.2%}; " + known.format(paid[t], expected[t])
            for t in rows.tolist()
        ]
        return report.findings("dividend_misapplied", history.times[rows], evidence, action)

    kept = unexplained & ~cut
    return cut, findings(cut, "break") + findings(kept, "kept")


def _shows_split(history: History, row: np.ndarray, excess: np.ndarray, price: np.ndarray) -> np.ndarray:
    """Whether the close jumps at `row` by a split, recorded or usual, and adj_close does not; (K,) bool."""
    split = history.columns["split"][row] if "split" in history.columns else np.zeros(len(row))
    usual = np.abs(np.abs(excess)[:, None] - np.log(SPLITS)).min(axis=1)
    recorded = np.abs(excess - np.log(np.where(split > 0, split, 1)))
    distance = np.where(split > 0, recorded, usual)
    return (distance < 0.01) & (np.abs(history.log_returns[row]) < np.abs(price))


def _printing_error(columns: dict[str, np.ndarray]) -> np.ndarray:
    """Most that rounding to the printed decimals can change the difference of the two log returns, (T,)."""
    close, adj_close = columns["close"], columns["adj_close"]
    relative = _half_unit(close) / close + _half_unit(adj_close) / adj_close
    return relative + np.concatenate([relative[:1], relative[:-1]])


def _half_unit(prices: np.ndarray) -> float:
    """Half a unit in the last decimal that `prices` are printed with, at most 8."""
    for decimals in range(8):
        scaled = prices * 10.0**decimals
        if (np.abs(scaled - np.rint(scaled)) <= 1e-6 + 1e-12 * scaled).all():
            return 0.5 * 10.0**-decimals
    return 0.5e-8
