"""What an econometrician reaches who knows the process's form and not its parameters: maximum likelihood of tokens."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit, logit

from data_pipeline.sources.processes import Gjr
from mqc_jax.evaluation.known_answer.garch import TokenGarch, gjr, moments
from mqc_jax.evaluation.known_answer.student import bin_masses, interval_mass, unit_scale
from mqc_jax.evaluation.known_answer.task import Simulated
from mqc_jax.evaluation.scores import LEAST_MASS

MOST_PERSISTENCE = 0.9999
PERSISTENCE, REACTION, NU = 0.95, 0.06, 6.0  # where the search begins


class Estimated(NamedTuple):
    """A law fitted to tokens; bins and season are the task's."""

    task: TokenGarch
    law: Gjr
    ar: float

    def conditional(self, simulated: Simulated, rows: slice = slice(None)) -> np.ndarray:
        """Masses of each token given those before it, (N, K), or some rows of it."""
        location, volatility = (moment[rows] for moment in self._moments(simulated))
        return bin_masses(self.task.bins.edges, location, volatility, self.law.nu)

    def nats(self, simulated: Simulated) -> np.ndarray:
        """−ln p of each token given those before it, (N,); two evaluations per token, not one per bin."""
        location, volatility = self._moments(simulated)
        edges = np.concatenate([[-np.inf], self.task.bins.edges, [np.inf]])
        scale = volatility * unit_scale(self.law.nu)
        low, high = ((edges[simulated.tokens + k] - location) / scale for k in (0, 1))
        return -np.log(np.maximum(interval_mass(low, high, self.law.nu), LEAST_MASS))

    def _moments(self, simulated: Simulated) -> tuple[np.ndarray, np.ndarray]:
        laws = (self.law,) * len(simulated.tokens_CT)
        found = moments(laws, simulated.values_CT, self.ar, self.task.seasons(simulated.length))
        return found[0].ravel(), found[1].ravel()


def fit(task: TokenGarch, simulated: Simulated, *, asymmetric: bool = False) -> Estimated:
    """Estimate the parameters of one law for all histories.

    Four parameters, and with `asymmetric` also leverage, mean and φ. With k of them the expected loss on fresh tokens
    is k / (2 N) above the floor: half a χ² of k degrees of freedom (Wilks 1938).
    """
    spread = float(np.std(simulated.values))

    def at(place: np.ndarray) -> Estimated:
        leverage, mean, ar = (np.tanh(place[4]), spread * place[5], np.tanh(place[6])) if asymmetric else (0.0,) * 3
        persistence = MOST_PERSISTENCE * expit(place[1])
        volatility, nu = spread * np.exp(place[0]), 2 + np.exp(place[3])
        return Estimated(task, gjr(volatility, persistence, persistence * expit(place[2]), leverage, nu, mean), ar)

    begin = np.zeros(7 if asymmetric else 4)
    begin[1:4] = logit(PERSISTENCE / MOST_PERSISTENCE), logit(REACTION / PERSISTENCE), np.log(NU - 2)
    limits = [(-3, 3), (-2, 9), (-9, 5), (-4, 6), (-3, 3), (-1, 1), (-2, 2)][: len(begin)]
    found = minimize(lambda place: at(place).nats(simulated).mean(), begin, method="L-BFGS-B", bounds=limits)
    return at(found.x)
