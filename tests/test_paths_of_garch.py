"""Where the model's one-step law is replaced by a true one, simulated paths are those of the true process.

So the path machinery is right by itself: draws, returns out of bins and tails, volatility and inputs fed back. The true
process is a GARCH(1,1)-t, whose variance is a function of the inputs the model reads: with h the exponentially weighted
mean of squared returns of half-life 40, (1 − c) h + c V is a GARCH variance with β = 0.5^(1/40), α = (1 − c)(1 − β) and
ω = c V (1 − β).
"""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import dataset_of
from scipy import stats

from data_pipeline import ReturnSeries
from mqc_jax.config import ModelConfig
from mqc_jax.forecasting import History, simulate
from mqc_jax.forecasting.risk import value_at_risk
from mqc_jax.model import GPT, OrdinalBins

BETA, PULL, LONG_RUN, NU = 0.5 ** (1 / 40), 0.3, 0.01**2, 6
N_PATHS, STEPS = 8192, 20


def true_variance(h):
    return (1 - PULL) * h + PULL * LONG_RUN


def true_returns(n: int, seed: int, shape=(), h=LONG_RUN) -> np.ndarray:
    """n returns of the process, from a mean of squared returns h."""
    rng, found = np.random.default_rng(seed), []
    for _ in range(n):
        found.append(np.sqrt(true_variance(h)) * rng.standard_t(NU, shape) * np.sqrt((NU - 2) / NU))
        h = BETA * h + (1 - BETA) * found[-1] ** 2
    return np.stack(found, axis=-1)


@pytest.fixture(scope="module")
def tokenizer():
    returns = true_returns(20_000, seed=1)
    times = (np.datetime64("1960-01-01") + np.arange(len(returns))).astype("datetime64[ns]")
    series = ReturnSeries("A", times, np.exp(np.cumsum(returns)), returns)
    return dataset_of([series], vocab_size=256, train_end="2013-01-01", validation_end="2014-01-01").tokenizer


@pytest.fixture
def true_law(tokenizer, monkeypatch):
    """The decoder's step, with the true law of the next token for logits."""

    def step(model, weights, cache, token_B, inputs_BF):
        scale_B, root_h_B = tokenizer.typical_volatility * jnp.exp(inputs_BF[:, 1:3].T)
        wide_B = scale_B / jnp.sqrt(true_variance(root_h_B**2)) / np.sqrt((NU - 2) / NU)
        t_BE = tokenizer.bins.edges * wide_B[:, None]
        outside_BE = jax.scipy.special.betainc(NU / 2, 0.5, NU / (NU + t_BE**2)) / 2
        cdf_BE = jnp.where(t_BE < 0, outside_BE, 1 - outside_BE)
        mass_BV = jnp.diff(jnp.pad(cdf_BE, [(0, 0), (1, 1)]).at[:, -1].set(1.0), axis=1)
        return jnp.log(jnp.maximum(mass_BV, 1e-12)), cache._replace(t=cache.t + 1)

    jax.clear_caches()
    monkeypatch.setattr(sys.modules["mqc_jax.decoding.generate"], "step", step)
    yield
    jax.clear_caches()


def test_paths_have_the_quantiles_of_the_true_process(true_law, tokenizer):
    history = History.of_returns(tokenizer, true_returns(1200, seed=2), 16)
    about = {"n_layer": 1, "n_head": 2, "n_kv_head": 2, "n_embd": 8, "inputs": True, "ordinal": True}
    bins = OrdinalBins(tuple(tokenizer.bin_values.tolist()), tuple(np.log(tokenizer.bins.masses).tolist()))
    model = GPT(ModelConfig(sequence_len=16, vocab_size=256, **about), jax.random.key(0), 8, bins)
    (paths,) = simulate(model, tokenizer, [history], [jax.random.key(1)], steps=1 + STEPS, n_paths=N_PATHS)
    # the first return comes from the prompt's logits; the true process goes on from each path's own
    h = (history.state.variance / history.state.weight)[2]
    truth = true_returns(STEPS, seed=3, shape=(N_PATHS,), h=BETA * h + (1 - BETA) * paths[:, 0] ** 2)
    paths = paths[:, 1:]
    for level in (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99):
        for horizon in (1, 5, STEPS):
            ours, theirs = (value_at_risk(one, level, horizon) for one in (paths, truth))
            error = np.hypot(ours.standard_error, theirs.standard_error)
            assert abs(ours.value - theirs.value) < 4 * error, f"{level=} {horizon=}"
    for of_path in (lambda one: np.abs(one).max(axis=1), lambda one: one.std(axis=1), lambda one: one.sum(axis=1)):
        assert stats.ks_2samp(of_path(paths), of_path(truth)).pvalue > 1e-3
