"""S5 and S6: volatility that tokens do not determine. Real-valued processes, binned; particle filters know their laws.

Axis letters: C histories  T time  P particles  G nodes  K tokens.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from data_pipeline.errors import BadInput
from data_pipeline.sources.processes import Gjr, Sv
from data_pipeline.tokenizers.bins import Bins
from mqc_jax.evaluation.known_answer.floors import MeanNats, batch_means, cross_entropy, entropy
from mqc_jax.evaluation.known_answer.garch import PLAIN, draw_returns
from mqc_jax.evaluation.known_answer.particle import StateSpace, particle_filter
from mqc_jax.evaluation.known_answer.student import bin_masses, quantile, unit_scale
from mqc_jax.evaluation.known_answer.task import Simulated, Task, generators

N_NODES = 2048
STOCHASTIC = Sv(phi=0.97, eta=0.15)


class Nodes(NamedTuple):
    """Equally spaced values of a state, and the law of a token at each."""

    values_G: np.ndarray
    masses_GK: np.ndarray

    def place(self, state: np.ndarray) -> np.ndarray:
        first, last = self.values_G[[0, -1]]
        return (np.clip(state, first, last) - first) * ((len(self.values_G) - 1) / (last - first))


class GarchSpace(NamedTuple):
    """The state is σ²_t. Given the token, r_t is the process's t truncated to the bin, and r_t makes σ²_{t+1}."""

    law: Gjr
    nodes: Nodes  # of ln σ²
    below_GK: np.ndarray  # mass below each bin
    edges: np.ndarray  # (K+1,)

    @classmethod
    def of(cls, law: Gjr, bins: Bins) -> GarchSpace:
        lowest = law.omega / (1 - law.beta)  # where σ² falls to when nothing moves
        values_G = np.linspace(np.log(0.99 * lowest), np.log(1e4 * law.volatility**2), N_NODES)
        masses_GK = bin_masses(bins.edges, law.mean, np.exp(values_G / 2), law.nu)
        edges = np.concatenate([[-np.inf], bins.edges, [np.inf]])
        return cls(law, Nodes(values_G, masses_GK), np.cumsum(masses_GK, axis=1) - masses_GK, edges)

    @property
    def masses_GK(self) -> np.ndarray:
        return self.nodes.masses_GK

    def start(self, shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
        return np.full(shape, self.law.volatility**2)

    def place(self, state_CP: np.ndarray) -> np.ndarray:
        return self.nodes.place(np.log(state_CP))

    def advance(self, state_CP: np.ndarray, token_C: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        law, values_G = self.law, self.nodes.values_G
        node_CP = np.rint(self.place(state_CP)).astype(np.int64)
        below_CG, mass_CG = (np.ascontiguousarray(table[:, token_C].T) for table in (self.below_GK, self.masses_GK))
        below_CP, mass_CP = (np.take_along_axis(table, node_CP, axis=1) for table in (below_CG, mass_CG))
        level_CP = np.clip(below_CP + rng.random(state_CP.shape) * mass_CP, 1e-300, 1 - 1e-16)
        scale_CP = np.exp(values_G / 2)[node_CP] * unit_scale(law.nu)  # the node's, so that the draw is in the bin
        returns_CP = law.mean + scale_CP * quantile(level_CP, law.nu)
        returns_CP = np.clip(returns_CP, self.edges[token_C, None], self.edges[token_C + 1, None])
        return law.omega + (law.alpha + law.gamma * (returns_CP < 0)) * returns_CP**2 + law.beta * state_CP


class SvSpace(NamedTuple):
    """The state is h_t, a Gaussian AR(1) that hears nothing of the returns."""

    law: Sv
    nodes: Nodes  # of h

    @classmethod
    def of(cls, law: Sv, bins: Bins) -> SvSpace:
        values_G = _spread(law) * np.linspace(-8, 8, N_NODES)
        volatility_G = law.volatility * np.exp((values_G - _spread(law) ** 2 / 2) / 2)
        return cls(law, Nodes(values_G, bin_masses(bins.edges, law.mean, volatility_G, law.nu)))

    @property
    def masses_GK(self) -> np.ndarray:
        return self.nodes.masses_GK

    def start(self, shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
        return _spread(self.law) * rng.standard_normal(shape)

    def place(self, state_CP: np.ndarray) -> np.ndarray:
        return self.nodes.place(state_CP)

    def advance(self, state_CP: np.ndarray, token_C: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return self.law.phi * state_CP + self.law.eta * rng.standard_normal(state_CP.shape)


def _spread(law: Sv) -> float:
    """Stationary standard deviation of h."""
    return law.eta / math.sqrt(1 - law.phi**2)


@dataclass(frozen=True)
class Hidden(Task):
    """`conditional` is a particle filter's estimate: the same for the same `filter_seed`, at the particles' cost."""

    law: Gjr | Sv = PLAIN
    n_particles: int = 10_000
    filter_seed: int = 0

    @property
    @abstractmethod
    def space(self) -> StateSpace:
        """The process as the filter sees it."""

    def conditional(self, simulated: Simulated, rows: slice = slice(None)) -> np.ndarray:
        rng = np.random.default_rng(self.filter_seed)
        laws_CTK = particle_filter(self.space, simulated.tokens_CT, self.n_particles, rng)
        return laws_CTK.reshape(-1, laws_CTK.shape[2])[rows]

    def given_volatility(self, simulated: Simulated) -> np.ndarray:
        """The law of each token for one who sees the volatility its return is drawn with, (N, K)."""
        if simulated.volatility is None:
            raise BadInput(f"{self.name}: the hidden volatility is missing; take what `simulate` returns")
        return bin_masses(self.bins.edges, self.law.mean, simulated.volatility, self.law.nu)

    def floor(self, simulated: Simulated) -> MeanNats:
        """What the filter loses, averaged over the tokens that the hidden volatility may bring.

        Its expectation is that of the filter's log loss, with less noise (Rao and Blackwell). It is above the floor by
        about a constant over the number of particles: two numbers of them show how much is missing.
        """
        return batch_means(cross_entropy(self.given_volatility(simulated), np.log(self.conditional(simulated))))

    def lower_bound(self, simulated: Simulated) -> MeanNats:
        """What one would lose who sees the volatility: below every floor."""
        return batch_means(entropy(self.given_volatility(simulated)))


@dataclass(frozen=True)
class BinnedGarch(Hidden):
    """S5: the recursion reads the return itself, of which the token tells only the bin."""

    law: Gjr = PLAIN

    @property
    def space(self) -> GarchSpace:
        return GarchSpace.of(self.law, self.bins)

    def _draw(self, n_histories: int, length: int, seed: int, bins: Bins | None) -> tuple[np.ndarray, np.ndarray]:
        return draw_returns((self.law,) * n_histories, length, seed, None, 0.0, np.ones(length))


@dataclass(frozen=True)
class BinnedSv(Hidden):
    """S6: log-AR(1) stochastic volatility, binned."""

    law: Sv = STOCHASTIC

    @property
    def space(self) -> SvSpace:
        return SvSpace.of(self.law, self.bins)

    def _draw(self, n_histories: int, length: int, seed: int, bins: Bins | None) -> tuple[np.ndarray, np.ndarray]:
        """Without its own shocks the same draws are z, and what a return is to its z is its volatility."""
        calm = replace(self.law, volatility=1.0, eta=0.0, mean=0.0)
        returns_CT, z_CT = (
            np.stack([law.simulate(length, rng) for rng in generators(seed, n_histories)]) for law in (self.law, calm)
        )
        return returns_CT, (returns_CT - self.law.mean) / z_CT
