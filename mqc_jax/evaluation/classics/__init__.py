"""What finance has long had: the laws that a model's scores stand beside, each by its name on the scoreboard."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from mqc_jax.evaluation.classics.garch import Garch
from mqc_jax.evaluation.classics.panel import (
    Asset,
    Classic,
    Fit,
    Refit,
    annual_refits,
    scored_rows,
    walk_forward,
)
from mqc_jax.evaluation.classics.simple import HistoricalSimulation, Markov, RawReturns
from mqc_jax.evaluation.classics.volatility_regression import VolatilityRegression
from mqc_jax.evaluation.combined import Pool
from mqc_jax.laws.law import Law

CLASSICS: dict[str, Classic] = {
    "unconditional": RawReturns(),
    "adaptive_unigram": RawReturns(adaptive=True),
    "markov": Markov(),
    "historical_250": HistoricalSimulation(250),
    "ewma_t": VolatilityRegression("nothing", skewed=False),
    "garch_t": Garch("garch_t"),
    "gjr_skew_t": Garch("gjr_skew_t"),
    "egarch_t": Garch("egarch_t"),
    "vol_regression": VolatilityRegression("closes"),
    "vol_regression_range": VolatilityRegression("ranges"),
}
POOLED = ("gjr_skew_t", "egarch_t")


def pool(asset: Asset, refits: Sequence[Refit], fit: Fit | None = None) -> Law:
    """The equal pool of GJR-skew-t and EGARCH-t."""
    laws = [walk_forward(CLASSICS[name], asset, refits, fit) for name in POOLED]
    return Pool(laws, [1 / len(laws)] * len(laws))


BASELINES: dict[str, Callable[..., Law]] = {
    **{name: partial(walk_forward, classic) for name, classic in CLASSICS.items()},
    "pool": pool,
}  # each takes an asset, refits, and what may stand in for fitting

__all__ = [
    "BASELINES",
    "CLASSICS",
    "POOLED",
    "Asset",
    "Classic",
    "Refit",
    "annual_refits",
    "pool",
    "scored_rows",
    "walk_forward",
]
