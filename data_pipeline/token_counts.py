"""How often tokens, and runs of tokens, occur: exact counts in bounded memory.

Tokens come in stretches, one 1-D integer array each, within which nothing is missing. No run crosses from one stretch
into the next.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from data_pipeline.errors import BadInput

MOST_VOCABULARY = 4096  # V² transitions fit in memory, and five tokens in one 64-bit key
BLOCK = 1 << 18  # tokens looked at at once: what fits in a processor's cache
DENSE = 1 << 21  # possible runs that are counted in one table
PART = 1 << 23  # runs that are counted by sorting at once
MIX = np.uint64(0x9E3779B97F4A7C15)  # 2⁶⁴ over the golden ratio: scatters neighbouring keys (Knuth, TAOCP 6.4)

Stretches = Sequence[np.ndarray]


@dataclass(frozen=True, eq=False)
class TokenCounts:
    """How often each of V tokens, and each pair of neighbours, occurs; the counts of two sets of stretches add up."""

    unigrams: np.ndarray  # (V,) int64
    bigrams: np.ndarray  # (V, V) int64; [i, j] counts j right after i

    @classmethod
    def of(cls, tokens: Stretches, vocab_size: int) -> TokenCounts:
        """Count. Raises BadInput for a vocabulary above MOST_VOCABULARY and for tokens outside it."""
        if not 1 <= vocab_size <= MOST_VOCABULARY:
            raise BadInput(f"a vocabulary of {vocab_size} tokens cannot be analyzed; 1 to {MOST_VOCABULARY} can")
        for number, stretch in enumerate(tokens):
            _check(stretch, vocab_size, number)
        return cls(_table(tokens, vocab_size, 1), count_bigrams(tokens, vocab_size))

    def __add__(self, other: TokenCounts) -> TokenCounts:
        return TokenCounts(self.unigrams + other.unigrams, self.bigrams + other.bigrams)

    @property
    def vocab_size(self) -> int:
        return len(self.unigrams)

    @property
    def transition_probabilities(self) -> np.ndarray:
        """Share of each next token after each token, shape (V, V); the rows of tokens that nothing follows are NaN."""
        with np.errstate(invalid="ignore"):
            return self.bigrams / self.bigrams.sum(axis=1, keepdims=True)

    @property
    def lift(self) -> np.ndarray:
        """Count of each transition over its count were neighbours independent, shape (V, V); NaN where that is 0."""
        expected = np.outer(self.bigrams.sum(axis=1), self.bigrams.sum(axis=0) / max(1, self.bigrams.sum()))
        with np.errstate(invalid="ignore"):
            return self.bigrams / expected


def count_bigrams(tokens: Iterable[np.ndarray], vocab_size: int) -> np.ndarray:
    """How often token j comes right after token i, shape (V, V)."""
    return _table(tokens, vocab_size, 2).reshape(vocab_size, vocab_size)


def commonest_runs(tokens: Stretches, vocab_size: int, n: int, top: int) -> tuple[np.ndarray, np.ndarray]:
    """The commonest runs of n tokens, shape (top, n), and how often each occurs, shape (top,).

    Where the possible runs are too many for one table, they are counted by sorting, one part of them in each of as many
    passes over the tokens as it takes for a part to hold about PART runs. Raises BadInput for n outside 1 to 5.
    """
    if not 1 <= n <= 5:
        raise BadInput(f"n={n} must be from 1 to 5: longer runs do not fit in a 64-bit key")
    if vocab_size**n <= DENSE:
        keys, counts = largest(np.arange(vocab_size**n), _table(tokens, vocab_size, n), top)
    else:
        parts = 1 + sum(map(len, tokens)) // PART
        best = [largest(*_count_part(tokens, vocab_size, n, part, parts), top) for part in range(parts)]
        keys, counts = (np.concatenate(column) for column in zip(*best, strict=True))
        keys, counts = largest(keys, counts, top)
    return keys[:, None] // vocab_size ** np.arange(n - 1, -1, -1) % vocab_size, counts


def largest(keys: np.ndarray, counts: np.ndarray, top: int) -> tuple[np.ndarray, np.ndarray]:
    """The keys with the `top` largest positive counts, commonest first; of those that tie, the smaller key."""
    order = np.lexsort((keys, -counts))[:top]
    order = order[counts[order] > 0]
    return keys[order], counts[order]


def _check(stretch: np.ndarray, vocab_size: int, number: int) -> None:
    if stretch.ndim != 1 or stretch.dtype.kind not in "iu":
        raise BadInput(f"stretch {number}: {stretch.dtype} of shape {stretch.shape}; tokens are 1-D arrays of integers")
    if len(stretch) and (stretch.min() < 0 or stretch.max() >= vocab_size):
        place = int(np.argmax((stretch < 0) | (stretch >= vocab_size)))
        raise BadInput(f"stretch {number}: token {stretch[place]} at position {place} is outside [0, {vocab_size})")


def _table(tokens: Iterable[np.ndarray], vocab_size: int, n: int) -> np.ndarray:
    """How often each run of n tokens occurs, shape (vocab_size ** n,)."""
    table = np.zeros(vocab_size**n, np.int64)
    for keys in _run_keys(tokens, vocab_size, n):
        table += np.bincount(keys, minlength=len(table))
    return table


def _count_part(tokens: Stretches, vocab_size: int, n: int, part: int, parts: int) -> tuple[np.ndarray, np.ndarray]:
    """The different runs in one of `parts` pseudo-random parts of all keys, ascending, and how often each occurs."""
    held = [(np.empty(0, np.int64), np.empty(0, np.int64))]
    for keys in _run_keys(tokens, vocab_size, n):
        mixed = keys.view(np.uint64) * MIX >> np.uint64(32)
        held.append(np.unique(keys[mixed % np.uint64(parts) == part], return_counts=True))
    keys, counts = (np.concatenate(column) for column in zip(*held, strict=True))
    order = np.argsort(keys, kind="stable")  # every block is sorted already, so this merges
    first = np.flatnonzero(np.diff(keys[order], prepend=-1))
    return keys[order][first], np.add.reduceat(counts[order], first) if len(first) else counts


def _run_keys(tokens: Iterable[np.ndarray], vocab_size: int, n: int) -> Iterator[np.ndarray]:
    """Every run of n tokens as one number, its digits in base `vocab_size`; about BLOCK of them at a time."""
    held: list[np.ndarray] = []
    size = 0
    for stretch in tokens:
        for begin in range(0, len(stretch), BLOCK):
            held.append(stretch[begin : begin + BLOCK + n - 1])
            size += len(held[-1])
            if size >= BLOCK:
                yield _keys(held, vocab_size, n)
                held, size = [], 0
    if held:
        yield _keys(held, vocab_size, n)


def _keys(pieces: list[np.ndarray], vocab_size: int, n: int) -> np.ndarray:
    """Keys of the runs of n tokens within each of the pieces."""
    joined = np.concatenate(pieces).astype(np.int64)
    count = max(0, len(joined) - n + 1)
    keys = joined[:count].copy()
    for k in range(1, n):
        keys *= vocab_size
        keys += joined[k : k + count]
    borders = np.cumsum([len(piece) for piece in pieces[:-1]], dtype=np.int64)
    across = (borders[:, None] - np.arange(1, n)).ravel()  # where runs begin that cross a border
    return np.delete(keys, across[(across >= 0) & (across < count)]) if len(across) else keys
