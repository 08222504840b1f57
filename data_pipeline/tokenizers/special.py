"""Tokens that mark time, not returns. A model reads them and never predicts them, so no score counts them.

Their ids follow the bins': special token s of a tokenizer with K bins is K + s.
"""

from __future__ import annotations

import numpy as np

NAMES = ("bos", "gap", "session_close", "session_open", "missing", "pad")
BOS, GAP, SESSION_CLOSE, SESSION_OPEN, MISSING, PAD = range(len(NAMES))


def marks(starts: np.ndarray, gaps: np.ndarray, opens: np.ndarray) -> np.ndarray:
    """Which of the first four stand before each of T returns, (T, 4) bool.

    A history begins with `bos`; `gap` says that bars are missing before this one; `session_close` and `session_open`
    stand between the last bar of one session and the first of the next.
    """
    between = opens & ~starts
    return np.stack([starts, gaps & ~starts, between, between], axis=1)


def interleave(before: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows of T returns and of the special tokens before them, given `marks` (T, S).

    Returns the row of each return (T,), the return that each of N rows belongs to (N,), and the special token of each
    row, −1 where it is a return (N,).
    """
    per_return = before.sum(axis=1) + 1
    row = np.cumsum(per_return) - 1
    owner = np.repeat(np.arange(len(before)), per_return)
    special = np.full(len(owner), -1)
    back = np.cumsum(before[:, ::-1], axis=1)[:, ::-1]  # how far before its return each mark stands
    for s in range(before.shape[1]):
        here = before[:, s]
        special[row[here] - back[here, s]] = s
    return row, owner, special
