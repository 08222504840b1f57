"""Processes whose true law is known: what a model could lose at best, and what it does lose above that.

S0 no memory · S1 Markov chains · S2 GARCH · S3 with leverage and an AR mean · S4 hidden regimes · S5 GARCH behind bins
S6 stochastic volatility · S7 long memory · S8 seasons of the day · S9 a panel of assets, each with its own parameters.
"""

from __future__ import annotations

from data_pipeline.sources.processes import Gjr
from mqc_jax.evaluation.known_answer.floors import (
    MeanNats,
    batch_means,
    below_floor,
    cross_entropy,
    divergence,
    entropy,
    excess,
    log_loss,
    recovery,
)
from mqc_jax.evaluation.known_answer.garch import Panel, TokenGarch, daily_season
from mqc_jax.evaluation.known_answer.har import TokenHar
from mqc_jax.evaluation.known_answer.hidden import BinnedGarch, BinnedSv
from mqc_jax.evaluation.known_answer.markov import Independent, MarkovTokens
from mqc_jax.evaluation.known_answer.regimes import Regimes
from mqc_jax.evaluation.known_answer.task import Simulated, Task

LENGTH = 2_000  # tokens of a history

TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        Independent("S0", LENGTH),
        MarkovTokens("S1", LENGTH),
        MarkovTokens("S1-2", LENGTH, order=2),
        TokenGarch("S2", LENGTH),
        TokenGarch("S3", LENGTH, Gjr(mean=0.0003), ar=0.05),
        Regimes("S4", LENGTH),
        BinnedGarch("S5", LENGTH),
        BinnedSv("S6", LENGTH),
        TokenHar("S7", LENGTH),
        TokenGarch("S8", LENGTH, season=daily_season(24, 0.5)),
        Panel("S9", LENGTH // 2),
    )
}

__all__ = [
    "TASKS",
    "MeanNats",
    "Simulated",
    "Task",
    "batch_means",
    "below_floor",
    "cross_entropy",
    "divergence",
    "entropy",
    "excess",
    "log_loss",
    "recovery",
]
