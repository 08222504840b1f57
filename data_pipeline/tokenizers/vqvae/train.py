"""Training the VQ-VAE: straight-through gradients for the network, moving averages for the codebook.

van den Oord, Vinyals & Kavukcuoglu (2017), Neural Discrete Representation Learning, equation 3 and appendix A.1 (the
codebook as moving averages); Razavi, van den Oord & Vinyals (2019), Generating Diverse High-Fidelity Images with
VQ-VAE-2. Codes that have fallen out of use move to where the codebook is worst.

Axis letters: B windows of a batch  T patches of a window  P returns of a patch  N = B · T  K codes  D code width
S steps of an epoch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from data_pipeline.tokenizers.vqvae.arithmetic import LARGEST, relative_distances, squash
from data_pipeline.tokenizers.vqvae.network import Stack, random_stack

STEPS = 50  # batches of an epoch, however much data there is
BATCH = 8  # windows of a batch
WINDOW = 16  # patches of a window
COMMITMENT = 0.25  # β, the weight of the encoder's squared distance to its code
DECAY = 0.95  # of the codebook's moving averages, per batch
LEARNING_RATE = 3e-3  # falls to zero along a cosine
DEAD = 0.01  # a code used less often than this share of the average is dead; without revival 27 % stay in use
REVIVE_UNTIL = 0.8  # of the training; later, a rare code is one for crashes, and moving it would lose them
SEEDING_WINDOWS = 256  # windows whose encoder outputs the first codes are drawn from
ADAM = optax.scale_by_adam()


class Codebook(NamedTuple):
    codes: Any  # (K, D)
    counts: Any  # (K,) moving average of how many patches of a batch use each code


class TrainState(NamedTuple):
    """All that a step changes."""

    stacks: tuple[Stack, Stack]  # encoder and decoder
    codebook: Codebook
    optimizer: Any
    key: Array


def train(
    series: Sequence[np.ndarray],
    mean: float,
    scale: float,
    *,
    codes: int,
    code_dim: int,
    hidden: int,
    patch: int,
    epochs: int,
    seed: int,
) -> TrainState:
    """The state after `epochs` epochs on windows of the log returns of each asset; float32 all through."""
    rng = np.random.default_rng(seed)

    def draw(*shape: int) -> np.ndarray:
        windows = draw_windows(series, WINDOW * patch, int(np.prod(shape)), rng)
        return squash(windows, mean, scale).astype(np.float32).reshape(*shape, WINDOW, patch)

    state = first_state(draw(SEEDING_WINDOWS), codes, code_dim, hidden, rng, jax.random.key(seed))
    for progress_S in np.linspace(0, 1, STEPS * epochs, endpoint=False, dtype=np.float32).reshape(epochs, STEPS):
        state = run_epoch(state, draw(STEPS, BATCH), progress_S)
    return state


def draw_windows(series: Sequence[np.ndarray], length: int, count: int, rng: np.random.Generator) -> np.ndarray:
    """`count` windows (count, length): every place in every asset is equally likely, none reaches over two assets."""
    ends = np.cumsum([max(0, len(s) - length + 1) for s in series])
    places = rng.integers(ends[-1], size=count)
    assets = np.searchsorted(ends, places, side="right")
    starts = ends[assets] - 1 - places
    return np.stack([series[a][s : s + length] for a, s in zip(assets, starts, strict=True)])


def first_state(
    sample_BTP: np.ndarray, codes: int, code_dim: int, hidden: int, rng: np.random.Generator, key: Array
) -> TrainState:
    """A random network, and a codebook of what it makes of a sample. `key` is for reviving codes."""
    patch = sample_BTP.shape[-1]
    stacks: Any = (random_stack(rng, patch, hidden, code_dim), random_stack(rng, code_dim, hidden, patch))
    z_ND = np.concatenate(stacks[0](sample_BTP))
    codebook = Codebook(spread_sample(z_ND, codes, rng), np.full(codes, BATCH * WINDOW / codes, np.float32))
    return TrainState(stacks, codebook, jax.jit(ADAM.init)(stacks), key)


def spread_sample(z_ND: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """`count` rows far apart, each drawn in proportion to its squared distance from those before it (k-means++)."""
    rows = [int(rng.integers(len(z_ND)))]
    distance = np.full(len(z_ND), np.inf)
    while len(rows) < count:
        distance = np.minimum(distance, ((z_ND - z_ND[rows[-1]]) ** 2).sum(-1))
        weight = distance + 1e-12  # there may be fewer different rows than codes
        rows.append(int(rng.choice(len(z_ND), p=weight / weight.sum())))
    return z_ND[rows]


@jax.jit
def run_epoch(state: TrainState, x_SBTP: Array, progress_S: Array) -> TrainState:
    """One step per batch; `progress_S` is the share of the training done before each."""
    return jax.lax.scan(lambda state, batch: (_step(state, *batch), None), state, (x_SBTP, progress_S))[0]


def _step(state: TrainState, x_BTP: Array, progress: Array) -> TrainState:
    key, revival_key = jax.random.split(state.key)
    gradients, (z_ND, nearest_N) = jax.grad(_loss, has_aux=True)(state.stacks, state.codebook.codes, x_BTP)
    updates, optimizer = ADAM.update(gradients, state.optimizer)
    rate = LEARNING_RATE * 0.5 * (1 + jnp.cos(jnp.pi * progress))
    stacks = jax.tree.map(lambda w, update: jnp.clip(w - rate * update, -LARGEST, LARGEST), state.stacks, updates)
    codebook = _moved(state.codebook, z_ND, nearest_N)
    codebook = _revived(codebook, z_ND, revival_key, DEAD * (progress < REVIVE_UNTIL))
    return TrainState(stacks, codebook, optimizer, key)


def _loss(stacks: tuple[Stack, Stack], codes_KD: Array, x_BTP: Array) -> tuple[Array, tuple[Array, Array]]:
    """Squared error of the reconstruction + β · squared distance to the codes; also z and its nearest codes."""
    encoder, decoder = stacks
    z_BTD = encoder(x_BTP)
    z_ND = jnp.concatenate(z_BTD)
    nearest_N = jnp.argmin(relative_distances(z_ND, codes_KD), -1)
    code_BTD = codes_KD[nearest_N].reshape(z_BTD.shape)
    straight_BTD = z_BTD + jax.lax.stop_gradient(code_BTD - z_BTD)  # the code, with the gradient of z
    error = jnp.mean((decoder(straight_BTD) - x_BTP) ** 2)
    return error + COMMITMENT * jnp.mean((z_BTD - code_BTD) ** 2), (z_ND, nearest_N)


def _moved(codebook: Codebook, z_ND: Array, nearest_N: Array) -> Codebook:
    """Each code at the moving average of the vectors that chose it; one that nobody chose stays where it is."""
    chosen_NK = jax.nn.one_hot(nearest_N, len(codebook.counts))
    batch_counts = chosen_NK.sum(0)
    counts = DECAY * codebook.counts + (1 - DECAY) * batch_counts
    pull_KD = chosen_NK.T @ z_ND - batch_counts[:, None] * codebook.codes
    return Codebook(codebook.codes + (1 - DECAY) * pull_KD / jnp.maximum(counts, 1e-6)[:, None], counts)


def _revived(codebook: Codebook, z_ND: Array, key: Array, dead_below: Array) -> Codebook:
    """Dead codes on vectors of this batch, drawn in proportion to their squared distance from the codebook."""
    codes, counts = codebook
    average = len(z_ND) / len(codes)
    distance_N = relative_distances(z_ND, codes).min(-1) + (z_ND**2).sum(-1)
    drawn_K = jax.random.categorical(key, jnp.log(jnp.maximum(distance_N, 1e-12)), shape=counts.shape)
    dead = counts < dead_below * average
    return Codebook(jnp.where(dead[:, None], z_ND[drawn_K], codes), jnp.where(dead, average, counts))
