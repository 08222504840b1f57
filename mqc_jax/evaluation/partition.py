"""The 64 shared bins, on which every model of every tokenizer can be scored.

They are cut like those of a 64-bin volatility tokenizer, at exact quantiles of the training dates. Their edges in
return space move with the volatility known before each return, which is the same for all who are scored.
"""

from __future__ import annotations

import numpy as np

from data_pipeline.dataset import TokenDataset
from data_pipeline.errors import BadInput
from data_pipeline.rows import Market
from data_pipeline.tokenizers import ReturnTokenizer
from data_pipeline.tokenizers.cuts import fine_tail_levels
from data_pipeline.tokenizers.returns import MIN_TRAINING_RETURNS
from mqc_jax.evaluation.baselines import RawReturnLaw
from mqc_jax.evaluation.scores import LEAST_MASS
from mqc_jax.laws.distribution import bin_masses

N_BINS = 64


class Partition:
    """The shared bins of a dataset, and what each law puts on the bin that came true."""

    def __init__(self, dataset: TokenDataset, market: Market, tokenizer: ReturnTokenizer):
        self.dataset, self.market, self.tokenizer = dataset, market, tokenizer
        self._training = dataset.training_rows()
        if len(self._training) < MIN_TRAINING_RETURNS:
            raise BadInput(
                f"{dataset.manifest['source']}: {len(self._training)} returns behind the warm-up and up to "
                f"{dataset.manifest['splits']['train_end']}, to which the laws to beat are fitted; give a history with "
                f"{MIN_TRAINING_RETURNS}"
            )
        z = market.returns[self._training] / market.volatility[self._training]
        self._edges = np.unique(np.quantile(z, fine_tail_levels(2 * N_BINS)[1::2]))  # fewer where prices stand still

    def return_edges(self, rows: np.ndarray) -> np.ndarray:
        """Edges of the shared bins in log returns at each row, (n, 63)."""
        return self.market.volatility[rows][:, None] * self._edges

    def model_nats(self, rows: np.ndarray, masses_NV: np.ndarray) -> np.ndarray:
        """−ln of the mass on each row's true shared bin, given the masses of the tokenizer's own bins, (n,)."""
        edges_NM = self.return_edges(rows)
        z_NM = self.tokenizer.standardize(edges_NM, self.market.known_before[rows][:, None])
        return _true_bin_nats(edges_NM, bin_masses(z_NM, self.tokenizer.bins, masses_NV), self.market.returns[rows])

    def baseline_nats(self, rows: np.ndarray) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """−ln of the mass of both raw-return laws on each row's true bin: the tokens' own bins, and the shared ones."""
        own, shared = np.empty((2, 2, len(rows)))
        owner = self.dataset.assets_of(rows)
        own_edges = self.tokenizer.return_edges(self.market.known_before[rows])
        for asset in range(len(self.dataset.assets)):
            history, mine = self.dataset.asset_rows(asset), owner == asset
            training = np.intersect1d(history, self._training)
            enough = len(training) >= MIN_TRAINING_RETURNS  # a late listing gets the law of all assets together
            law = RawReturnLaw.fit(self.market.returns[training if enough else self._training])
            adaptive = law.adaptive_masses(self.market.returns[history])[np.searchsorted(history, rows[mine])]
            returns = self.market.returns[rows[mine]]
            for k, masses in enumerate((np.broadcast_to(law.bins.masses, adaptive.shape), adaptive)):
                for edges, nats in ((own_edges[mine], own), (self.return_edges(rows[mine]), shared)):
                    nats[k, mine] = _true_bin_nats(edges, bin_masses(edges, law.bins, masses), returns)
        return _named(own), _named(shared)


def _named(nats: np.ndarray) -> dict[str, np.ndarray]:
    return {"unigram": nats[0], "adaptive_unigram": nats[1]}


def _true_bin_nats(edges_NM: np.ndarray, masses_NK: np.ndarray, returns_N: np.ndarray) -> np.ndarray:
    k_N = (returns_N[:, None] >= edges_NM).sum(axis=1)
    return -np.log(np.maximum(masses_NK[np.arange(len(k_N)), k_N], LEAST_MASS))
