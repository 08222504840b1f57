"""The 64 shared bins, on which every model of every tokenizer can be scored.

They are every second bin of the volatility tokenizer fitted on the training dates. Their edges in return space move
with the volatility known before each return, which is the same for all who are scored.
"""

from __future__ import annotations

import numpy as np

from data_pipeline.dataset import Market, TokenDataset
from data_pipeline.tokenizers import VolatilityTokenizer
from data_pipeline.tokenizers.base import MIN_TRAINING_RETURNS, ReturnTokenizer
from mqc_jax.evaluation.baselines import RawReturnLaw
from mqc_jax.evaluation.distribution import bin_masses

N_BINS = 64
LEAST_MASS = 1e-300  # a law that calls what happened impossible is charged 690 nats, not infinitely many


class Partition:
    """The shared bins of a dataset, and what each law puts on the bin that came true."""

    def __init__(self, dataset: TokenDataset, market: Market, tokenizer: ReturnTokenizer):
        self.market, self.tokenizer, self._segments = market, tokenizer, dataset.segments
        self._training = dataset.training_rows()
        returns, volatility = market.returns[self._training], market.volatility[self._training]
        self._cut = VolatilityTokenizer.fit_rows(returns, volatility)

    def return_edges(self, rows: np.ndarray) -> np.ndarray:
        """Edges of the shared bins in log returns at each row, (n, 63)."""
        return self._cut.return_edges(self.market.volatility[rows])[:, 1::2]

    def model_nats(self, rows: np.ndarray, masses_NV: np.ndarray) -> np.ndarray:
        """−ln of the mass on each row's true shared bin, given the masses of the tokenizer's own bins, (n,)."""
        edges_NM = self.return_edges(rows)
        z_NM = self.tokenizer.standardize(edges_NM, self.market.volatility[rows][:, None])
        return _true_bin_nats(edges_NM, bin_masses(z_NM, self.tokenizer.bins, masses_NV), self.market.returns[rows])

    def baseline_nats(self, rows: np.ndarray) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """−ln of the mass of both raw-return laws on each row's true bin: the tokens' own bins, and the shared ones."""
        own, shared = [], []
        for begin, train, validation, _, end in self._segments:
            mine = rows[(rows >= begin) & (rows < end)]
            if not len(mine):
                continue
            enough = validation - train >= MIN_TRAINING_RETURNS  # a late listing gets the law of all assets together
            law = RawReturnLaw(self.market.returns[np.arange(train, validation) if enough else self._training])
            adaptive = law.adaptive_masses(self.market.returns[train:end])[mine - train]
            laws = (np.broadcast_to(law.bins.masses, adaptive.shape), adaptive)
            returns = self.market.returns[mine]
            own_edges = self.tokenizer.return_edges(self.market.volatility[mine])
            for edges, nats in ((own_edges, own), (self.return_edges(mine), shared)):
                nats.append([_true_bin_nats(edges, bin_masses(edges, law.bins, masses), returns) for masses in laws])
        return _named(own), _named(shared)


def _named(nats: list[list[np.ndarray]]) -> dict[str, np.ndarray]:
    unigram, adaptive = np.concatenate(nats, axis=1)
    return {"unigram": unigram, "adaptive_unigram": adaptive}


def _true_bin_nats(edges_NM: np.ndarray, masses_NK: np.ndarray, returns_N: np.ndarray) -> np.ndarray:
    k_N = (returns_N[:, None] >= edges_NM).sum(axis=1)
    return -np.log(np.maximum(masses_NK[np.arange(len(k_N)), k_N], LEAST_MASS))
