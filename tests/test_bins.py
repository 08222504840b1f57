"""Where in its bin a value lies: the bin's own law, alike on NumPy and inside a jitted loop."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from data_pipeline.tokenizers.bins import Bins
from data_pipeline.tokenizers.cuts import fine_tail_levels
from data_pipeline.tokenizers.tails import LARGEST_SHAPE, LEAST_SHAPE, Tail

BINS = Bins.fit(np.random.default_rng(0).standard_t(4, 20_000), fine_tail_levels(32))
K = len(BINS.values)
shares = st.floats(1e-9, 1 - 1e-9)
bins = st.integers(0, K - 1)


@settings(deadline=None)
@given(st.floats(LEAST_SHAPE, LARGEST_SHAPE), st.floats(1e-4, 10), st.floats(-25, 0))
def test_the_excess_is_the_one_that_survives_with_that_probability(shape, scale, log_survival):
    tail = Tail(shape, scale)
    excess = tail.excess(np.float64(log_survival))
    assert tail.log_survival(excess) == pytest.approx(log_survival, rel=1e-9, abs=1e-12)
    assert excess == pytest.approx(stats.genpareto(shape, scale=scale).isf(np.exp(log_survival)), rel=1e-9, abs=1e-12)


@settings(deadline=None)
@given(st.integers(1, K - 2), shares)
def test_a_value_lies_at_its_share_of_an_inner_bin(k, share):
    left, right = BINS.edges[k - 1], BINS.edges[k]
    value = BINS.place(np.int64(k), np.float64(share))
    assert (value - left) / (right - left) == pytest.approx(share, abs=1e-9)


@settings(deadline=None)
@given(shares)
def test_a_value_lies_at_its_share_of_the_pareto_laws_of_the_outer_bins(share):
    left, right = (stats.genpareto(tail.shape, scale=tail.scale) for tail in (BINS.left, BINS.right))
    lowest, highest = BINS.place(np.array([0, K - 1]), np.full(2, share))
    assert lowest == pytest.approx(BINS.edges[0] - left.isf(share), rel=1e-9)
    assert highest == pytest.approx(BINS.edges[-1] + right.ppf(share), rel=1e-6)  # 1 − share is known to 1e-16 only


@settings(deadline=None)
@given(st.lists(st.tuples(bins, shares), min_size=2, max_size=20))
def test_values_lie_in_their_bins_and_in_the_order_of_bins_and_shares(places):
    k, share = (np.array(column) for column in zip(*sorted(places), strict=True))
    values = BINS.place(k, share)
    assert (np.diff(values) >= 0).all()
    lowest, highest = np.append(-np.inf, BINS.edges)[k], np.append(BINS.edges, np.inf)[k]
    assert ((lowest <= values) & (values <= highest)).all()


def test_a_jitted_loop_places_values_where_numpy_does():
    k = np.repeat(np.arange(K), 99)
    share = np.tile(np.linspace(0.01, 0.99, 99), K)
    jitted = jax.jit(BINS.place)(jnp.asarray(k), jnp.asarray(share, jnp.float32))
    assert jitted.dtype == jnp.float32
    np.testing.assert_allclose(jitted, BINS.place(k, share), rtol=2e-5, atol=1e-6)
    small = jax.jit(BINS.place)(jnp.asarray(k, jnp.uint8), jnp.asarray(share, jnp.float32))
    np.testing.assert_array_equal(small, jitted, err_msg="unsigned bins are the same bins")


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_a_draw_at_the_end_of_the_unit_interval_is_finite_and_has_finite_slopes(share):
    k = jnp.arange(K)
    values, slopes = jax.jvp(lambda s: BINS.place(k, s), (jnp.full(K, share),), (jnp.ones(K),))
    assert np.isfinite(values).all() and np.isfinite(slopes).all()
    assert np.abs(values).max() < 2e4, "no farther than a draw in 17 million goes"
    assert np.isfinite(BINS.place(np.arange(K), np.full(K, share))).all()
