"""What a model has to beat before it is worth anything: laws of raw returns that know no order.

Both are fitted on each asset's own training returns. They are laws of *raw* returns: a histogram of volatility-scaled
tokens has already been told the volatility.
"""

from __future__ import annotations

import numpy as np
from scipy.signal import lfilter

from data_pipeline.dataset import TokenDataset
from data_pipeline.tokenizers.bins import Bins

FINE = 32  # equal-mass bins of the training law; few enough to be smooth
COARSE = 16  # pairs of them, whose masses the adaptive law updates
HALF_LIFE = 160  # bars
STAY = 0.1  # share of the training law the adaptive one keeps, so that no bin dies


class RawReturnLaw:
    """The training law of an asset's returns, and the masses that recent returns would give its bins."""

    def __init__(self, bins: Bins):
        self.bins = bins

    @classmethod
    def fit(cls, training_returns: np.ndarray) -> RawReturnLaw:
        return cls(Bins.fit(training_returns, np.arange(1, FINE) / FINE))

    def adaptive_masses(self, returns: np.ndarray) -> np.ndarray:
        """Masses of the bins before each of T returns, (T, FINE): exponentially weighted counts of those before it."""
        pair = np.arange(FINE) // (FINE // COARSE)
        prior = np.bincount(pair, self.bins.masses)
        seen = np.eye(COARSE)[pair[self.bins.assign(returns)]]
        decay = 0.5 ** (1 / HALF_LIFE)
        after = lfilter([1 - decay], [1, -decay], seen, axis=0, zi=decay * prior[None])[0]
        before = np.concatenate([prior[None], after[:-1]])
        coarse = (1 - STAY) * before + STAY * prior
        return self.bins.masses * (coarse / prior)[:, pair]


class TokenCounts:
    """The same two laws over bare token ids, for data without returns."""

    def __init__(self, training_tokens: np.ndarray, vocab_size: int):
        count = np.bincount(training_tokens, minlength=vocab_size) + 0.5
        self.masses = count / count.sum()

    def adaptive_masses(self, tokens: np.ndarray) -> np.ndarray:
        """Mass of each token before it came, (T,)."""
        decay, masses = 0.5 ** (1 / HALF_LIFE), np.empty(len(tokens))
        running = self.masses.copy()
        for t, token in enumerate(tokens):
            masses[t] = (1 - STAY) * running[token] + STAY * self.masses[token]
            running *= decay
            running[token] += 1 - decay
        return masses


def token_histogram(dataset: TokenDataset) -> np.ndarray:
    """Training share of each token, pooled over assets and smoothed, (V,)."""
    return TokenCounts(dataset.tokens[dataset.training_rows()], dataset.tokenizer.vocab_size).masses


def token_baselines(dataset: TokenDataset, rows: np.ndarray) -> dict[str, np.ndarray]:
    """−ln p of the tokens in `rows` under each asset's own unigram and adaptive unigram, where there are no returns."""
    unigram, adaptive = np.empty(len(rows)), np.empty(len(rows))
    training, owner = dataset.training_rows(), dataset.assets_of(rows)
    for asset in range(len(dataset.assets)):
        history, mine = dataset.asset_rows(asset), owner == asset
        law = TokenCounts(dataset.tokens[np.intersect1d(history, training)], dataset.tokenizer.vocab_size)
        place = np.searchsorted(history, rows[mine])
        tokens = np.asarray(dataset.tokens[history])
        unigram[mine] = -np.log(law.masses[tokens[place]])
        adaptive[mine] = -np.log(law.adaptive_masses(tokens)[place])
    return {"unigram": unigram, "adaptive_unigram": adaptive}
