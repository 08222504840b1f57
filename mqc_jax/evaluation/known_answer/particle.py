"""A particle filter: the law of the next token when the state behind the tokens is a hidden real number.

Gordon, Salmond and Smith (1993): predict, weigh by the token, resample, step. All histories run side by side.

A token's law depends on the state smoothly, so it is tabulated at G nodes and interpolated linearly between them. A
step then costs a few look-ups per particle, and the table's error is of second order in the distance of the nodes.

Axis letters: C histories  T time  P particles  G nodes  K tokens.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np


class StateSpace(Protocol):
    """A hidden Markov process seen through tokens."""

    @property
    def masses_GK(self) -> np.ndarray:
        """The law of a token at each node of the state."""
        ...

    def start(self, shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
        """States before the first token, (C, P)."""
        ...

    def place(self, state_CP: np.ndarray) -> np.ndarray:
        """Where states lie among the nodes: real numbers in [0, G − 1]."""
        ...

    def advance(self, state_CP: np.ndarray, token_C: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """States one bar later, drawn given the states and the tokens that came out of them."""
        ...


def particle_filter(space: StateSpace, tokens_CT: np.ndarray, n_particles: int, rng: np.random.Generator) -> np.ndarray:
    """Estimates of P(token at t | tokens before t), (C, T, K); each is unbiased given the step before it."""
    masses_GK = space.masses_GK
    n_histories, length = tokens_CT.shape
    laws_CTK = np.empty((n_histories, length, masses_GK.shape[1]))
    state_CP = space.start((n_histories, n_particles), rng)
    history_C1 = np.arange(n_histories)[:, None]
    for t in range(length):
        place_CP = space.place(state_CP)
        node_CP = np.minimum(place_CP.astype(np.int64), len(masses_GK) - 2)
        beyond_CP = place_CP - node_CP
        count_CG = _histogram(node_CP + history_C1 * len(masses_GK), beyond_CP, n_histories, len(masses_GK))
        laws_CTK[:, t] = count_CG @ masses_GK / n_particles
        nodes_CG = np.ascontiguousarray(masses_GK[:, tokens_CT[:, t]].T)
        low_CP, high_CP = (np.take_along_axis(nodes_CG, node_CP + k, axis=1) for k in (0, 1))
        kept = resample(low_CP + beyond_CP * (high_CP - low_CP), rng)
        state_CP = space.advance(state_CP.ravel()[kept], tokens_CT[:, t], rng)
    return laws_CTK


def resample(weights_CP: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Which particles live on, as flat indices (C, P): systematic resampling within each row.

    Kitagawa (1996): a particle of weight w among P survives ⌊P w⌋ or ⌈P w⌉ times.
    """
    n_particles = weights_CP.shape[1]
    running_CP = np.cumsum(weights_CP, axis=1)
    running_CP *= n_particles / running_CP[:, -1:]
    upto_CP = np.ceil(running_CP - rng.random((len(weights_CP), 1))).astype(np.int64)
    upto_CP[:, -1] = n_particles
    survivors_CP = np.diff(np.minimum(upto_CP, n_particles), axis=1, prepend=0)
    return np.repeat(np.arange(weights_CP.size), survivors_CP.ravel()).reshape(weights_CP.shape)


def _histogram(cell_CP: np.ndarray, beyond_CP: np.ndarray, n_histories: int, n_nodes: int) -> np.ndarray:
    """How many particles are at each node, each shared between the two it lies between, (C, G)."""
    size = n_histories * n_nodes
    here = np.bincount(cell_CP.ravel(), 1 - beyond_CP.ravel(), size)
    here += np.bincount(cell_CP.ravel() + 1, beyond_CP.ravel(), size)
    return here.reshape(n_histories, n_nodes)
