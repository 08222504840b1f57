"""What a stream of tokens is like: how evenly the vocabulary is used, what follows what, what stands out.

Tokens come in stretches, one 1-D integer array each, within which nothing is missing. Entropies and information are in
bits. `analyze` looks from every side; `analyze_report` shows what it found.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from scipy.special import entr

from data_pipeline.errors import BadInput
from data_pipeline.token_counts import BLOCK, Stretches, TokenCounts, commonest_runs, count_bigrams, largest


class NextToken(NamedTuple):
    """What a token tells of the next one, as a sample shows it: the truth and a bias, which shuffling shows alone."""

    information_bits: np.ndarray  # (...) mutual information of neighbours
    entropy_bits: np.ndarray  # (..., V) of the next token after each token; NaN where nothing follows it


@dataclass(frozen=True, eq=False)
class Analysis:
    """Everything `analyze` finds."""

    counts: TokenCounts
    next_token: NextToken
    shuffled: NextToken  # with a leading axis, one shuffle each
    statistics: dict[str, Any]
    transitions: list[dict[str, Any]]
    ngrams: dict[int, list[dict[str, Any]]]
    outliers: dict[str, list[dict[str, Any]]]

    def to_json(self) -> dict[str, Any]:
        return self.statistics | {
            "token_counts": self.counts.unigrams.tolist(),
            "transition_counts": self.counts.bigrams.tolist(),
            "commonest_transitions": self.transitions,
            "frequent_ngrams": {str(n): rows for n, rows in self.ngrams.items()},
            "outliers": self.outliers,
        }


def analyze(
    tokens: Stretches,
    vocab_size: int,
    *,
    returns: Stretches | None = None,
    times: Stretches | None = None,
    names: Sequence[str] | None = None,
    shuffles: int = 10,
    seed: int = 0,
) -> Analysis:
    """Look at tokens from every side.

    Args:
      tokens: one integer array per stretch, in time order.
      vocab_size: number of possible tokens, seen or not.
      returns, times: log returns and datetimes of the same shapes, for the outliers.
      names: the asset of each stretch; by default its number.
      shuffles, seed: how often the order is shuffled to see what information looks like where there is none.

    Raises BadInput for tokens outside the vocabulary, for shapes that differ, and when no two tokens are neighbours.
    """
    counts = TokenCounts.of(tokens, vocab_size)
    if not counts.bigrams.any():
        raise BadInput("no two tokens follow one another, so there is nothing to analyze; give a longer stream")
    shuffled = shuffled_next(tokens, vocab_size, shuffles, seed)
    return Analysis(
        counts,
        describe_next(counts.bigrams),
        shuffled,
        token_statistics(counts, shuffled) | {"stretches": len(tokens), "seed": seed},
        common_transitions(counts),
        {n: frequent_ngrams(tokens, counts, n) for n in (2, 3, 4, 5)},
        outliers(tokens, counts, returns=returns, times=times, names=names),
    )


def describe_next(bigrams: np.ndarray) -> NextToken:
    """Plug-in mutual information of neighbours, and entropy after each token, from counts of shape (V, V)."""
    last, following = bigrams.sum(axis=1), bigrams.sum(axis=0)
    information = _entropy_bits(last) + _entropy_bits(following) - _entropy_bits(bigrams.ravel())
    return NextToken(information, np.where(last > 0, _entropy_bits(bigrams), np.nan))


def shuffled_next(tokens: Stretches, vocab_size: int, shuffles: int, seed: int) -> NextToken:
    """`describe_next` of `shuffles` copies of the tokens, each stretch in random order: what is left is not order.

    Left are the bias of a finite sample, and what stretches that differ from one another tell.
    """
    if shuffles < 2:
        raise BadInput(f"shuffles={shuffles} must be at least 2, so that they have a standard deviation")
    found = []
    for number in range(shuffles):
        rng = np.random.default_rng([seed, number])
        shuffled = (rng.permutation(stretch) for stretch in tokens)
        found.append(describe_next(count_bigrams(shuffled, vocab_size)))
    return NextToken(*(np.stack(column) for column in zip(*found, strict=True)))


def token_statistics(counts: TokenCounts, shuffled: NextToken, top: int = 10) -> dict[str, Any]:
    """Use of the vocabulary, entropies, and what the order of the tokens tells, as JSON.

    `entropy_miller_madow_bits` adds (tokens used − 1) / 2N nats to the plug-in estimate (Miller, 1955).
    `order_information_bits` is the mutual information of neighbours less its mean over the shuffles,
    `order_information_z` the same in standard deviations of the shuffles; None where all shuffles are alike.
    """
    total, used = int(counts.unigrams.sum()), int(np.count_nonzero(counts.unigrams))
    entropy, following = (float(_entropy_bits(c)) for c in (counts.unigrams, counts.bigrams.sum(axis=0)))
    information = float(describe_next(counts.bigrams).information_bits)
    bias, spread = float(shuffled.information_bits.mean()), float(shuffled.information_bits.std(ddof=1))
    tokens, found = largest(np.arange(counts.vocab_size), counts.unigrams, counts.vocab_size)
    ranked = [
        {"token": token, "count": count, "share": count / total}
        for token, count in zip(tokens.tolist(), found.tolist(), strict=True)
    ]
    return {
        "tokens": total,
        "transitions": int(counts.bigrams.sum()),
        "vocabulary": counts.vocab_size,
        "tokens_used": used,
        "vocabulary_used_share": used / counts.vocab_size,
        "entropy_bits": entropy,
        "entropy_miller_madow_bits": entropy + (used - 1) / (2 * total * math.log(2)),
        "maximum_entropy_bits": math.log2(counts.vocab_size),
        "perplexity": 2**entropy,
        "conditional_entropy_bits": following - information,
        "conditional_entropy_less_bias_bits": following - information + bias,
        "mutual_information_bits": information,
        "shuffles": len(shuffled.information_bits),
        "shuffled_mutual_information_mean_bits": bias,
        "shuffled_mutual_information_sd_bits": spread,
        "order_information_bits": information - bias,
        "order_information_z": (information - bias) / spread if spread > 1e-12 else None,
        "commonest": ranked[:top],
        "rarest": ranked[::-1][:top],
    }


def common_transitions(counts: TokenCounts, top: int = 20) -> list[dict[str, Any]]:
    """The commonest transitions, with their lift over independent neighbours."""
    keys, found = largest(np.arange(counts.bigrams.size), counts.bigrams.ravel(), top)
    last, following = np.divmod(keys, counts.vocab_size)
    rows = zip(
        last.tolist(),
        following.tolist(),
        found.tolist(),
        counts.transition_probabilities[last, following].tolist(),
        counts.lift[last, following].tolist(),
        strict=True,
    )
    return [dict(zip(("token", "next_token", "count", "probability", "lift"), row, strict=True)) for row in rows]


def frequent_ngrams(tokens: Stretches, counts: TokenCounts, n: int, top: int = 20) -> list[dict[str, Any]]:
    """The commonest runs of n tokens that occur more than once, beside their count were tokens independent."""
    runs, found = commonest_runs(tokens, counts.vocab_size, n, top)
    runs, found = runs[found > 1], found[found > 1]
    positions = sum(max(0, len(stretch) - n + 1) for stretch in tokens)
    expected = positions * np.prod(counts.unigrams[runs] / counts.unigrams.sum(), axis=1)
    rows = zip(runs.tolist(), found.tolist(), expected.tolist(), (found / expected).tolist(), strict=True)
    return [dict(zip(("tokens", "count", "expected_count", "lift"), row, strict=True)) for row in rows]


def outliers(
    tokens: Stretches,
    counts: TokenCounts,
    *,
    returns: Stretches | None = None,
    times: Stretches | None = None,
    names: Sequence[str] | None = None,
    top: int = 20,
) -> dict[str, list[dict[str, Any]]]:
    """Where the rarest tokens stand, and the returns furthest from the mean of their stretch.

    `z` is that distance in standard deviations of the returns of the stretch. Raises BadInput for shapes that differ
    from those of the tokens.
    """
    _check_shapes(tokens, returns, times, names)
    scales = [(float(r.mean()), float(r.std()) or 1.0) if len(r) else (0.0, 1.0) for r in returns or ()]

    def z_of(number: int, log_return: Any) -> Any:
        mean, scale = scales[number]
        return (log_return - mean) / scale

    def describe(number: int, place: int) -> dict[str, Any]:
        token = int(tokens[number][place])
        log_return = None if returns is None else float(returns[number][place])
        return {
            "unique_id": str(number) if names is None else names[number],
            "ds": None if times is None else str(times[number][place].astype("datetime64[s]")),
            "position": place,
            "token": token,
            "token_count": int(counts.unigrams[token]),
            "log_return": log_return,
            "z": None if log_return is None else z_of(number, log_return),
        }

    rarest = _lowest(tokens, lambda _, block: counts.unigrams[block], top)
    furthest = _lowest(returns or (), lambda number, block: -np.abs(z_of(number, block)), top)
    return {
        "rarest_tokens": [describe(*where) for where in rarest],
        "largest_returns": [describe(*where) for where in furthest],
    }


def _check_shapes(
    tokens: Stretches, returns: Stretches | None, times: Stretches | None, names: Sequence[str] | None
) -> None:
    for given, what in ((returns, "returns"), (times, "times")):
        if given is not None and [len(values) for values in given] != [len(stretch) for stretch in tokens]:
            raise BadInput(f"{what}: not one for every token; give arrays as long as those of the tokens")
    if names is not None and len(names) != len(tokens):
        raise BadInput(f"names: {len(names)} for {len(tokens)} stretches; give one each")


def _lowest(stretches: Stretches, score: Callable[[int, np.ndarray], np.ndarray], top: int) -> list[tuple[int, int]]:
    """Stretch and place of the `top` lowest scores, lowest first; of those that tie, the first."""
    found: list[tuple[float, int, int]] = []
    bound = math.inf
    for number, stretch in enumerate(stretches):
        for begin in range(0, len(stretch), BLOCK):
            scores = score(number, stretch[begin : begin + BLOCK])
            places = np.flatnonzero(scores < bound)
            if len(places):
                places = places[np.argsort(scores[places], kind="stable")][:top]
                found += [(float(scores[place]), number, begin + place) for place in places.tolist()]
                found = sorted(found)[:top]
                bound = found[-1][0] if len(found) == top else math.inf
    return [(number, place) for _, number, place in found]


def _entropy_bits(counts: np.ndarray) -> np.ndarray:
    """Plug-in entropy of counts along the last axis; 0 where there are none."""
    return entr(counts / np.maximum(counts.sum(axis=-1, keepdims=True), 1)).sum(axis=-1) / math.log(2)
