"""Sketches: they add up exactly in any order, and what is read off them is what the sample says."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_pipeline.sketch import Sketch, key_of, lower_bound
from data_pipeline.tokenizers.bins import Bins
from data_pipeline.tokenizers.grid import Grid
from data_pipeline.tokenizers.tails import Tail

finite = st.floats(allow_nan=False, allow_infinity=False, width=64)
SAMPLE = np.random.default_rng(0).standard_t(4, 50_000)


def same(a: Sketch, b: Sketch) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


@settings(max_examples=60, deadline=None)
@given(st.lists(finite, min_size=1, max_size=60), st.integers(1, 7), st.randoms())
def test_sketches_of_parts_add_up_to_the_sketch_of_the_whole_in_any_order(values, parts, random):
    sketches = [Sketch.of(part) for part in np.array_split(np.array(values), parts)]
    random.shuffle(sketches)
    assert same(Sketch.merged(sketches), Sketch.of(np.array(values)))
    assert same(Sketch.merged([Sketch.merged(sketches[:2]), *sketches[2:]]), Sketch.of(np.array(values)))


@settings(max_examples=200, deadline=None)
@given(finite, finite)
def test_cells_are_half_open_intervals_in_the_order_of_the_numbers(a, b):
    low, high = np.array([min(a, b)]), np.array([max(a, b)])
    assert key_of(low) <= key_of(high)
    assert lower_bound(key_of(low)) <= low
    assert key_of(lower_bound(key_of(low))) == key_of(low)
    if abs(a) < 1e300:
        assert low < lower_bound(key_of(low) + 1)


def test_minus_zero_is_zero():
    assert key_of(np.array([-0.0])) == key_of(np.array([0.0])) == 0
    assert lower_bound(np.array([0])) == 0


def test_counts_sums_moments_and_quantiles_are_the_samples():
    sketch = Sketch.of(SAMPLE)
    assert sketch.size == len(SAMPLE)
    assert sketch.mean == pytest.approx(SAMPLE.mean(), abs=1e-9)
    assert sketch.standard_deviation == pytest.approx(SAMPLE.std(), rel=1e-6)
    levels = np.array([1e-4, 0.01, 0.3, 0.5, 0.9, 0.9999])
    edges = lower_bound(sketch.quantile_keys(levels))
    below = (SAMPLE[:, None] < edges).mean(axis=0)
    np.testing.assert_allclose(below, levels, atol=2e-4)
    np.testing.assert_array_equal(sketch.below(sketch.quantile_keys(levels)), (SAMPLE[:, None] < edges).sum(axis=0))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from([0.0, 1.0, -1.0, 0.25, 1e-9]) | st.floats(-5, 5), min_size=2, max_size=200))
def test_bins_hold_what_they_say_whatever_the_sample(values):
    values = np.array(values)
    bins = Bins.fit(values, np.arange(1, 16) / 16)
    assert (np.diff(bins.edges) > 0).all()
    token = bins.assign(values)
    count = np.bincount(token, minlength=16)
    np.testing.assert_allclose(bins.masses, (count + 0.5) / (len(values) + 8))
    for k in np.flatnonzero(count):
        assert bins.values[k] == pytest.approx(values[token == k].mean(), rel=1e-9, abs=1e-12)
    assert bins.left.scale > 0
    assert bins.right.scale > 0


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=40, unique=True).map(sorted),
    st.lists(st.floats(allow_nan=False), min_size=1, max_size=50),
)
def test_the_grid_finds_what_a_binary_search_finds(edges, values):
    edges = np.array(edges)
    values = np.concatenate([values, edges, np.nextafter(edges, np.inf), np.nextafter(edges, -np.inf)])
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(Grid.of(edges).search(values), np.searchsorted(edges, values, side="right"))


@pytest.mark.parametrize("shape", [0.1, 0.25, 0.4])
def test_a_pareto_tail_is_found_again_with_its_scale_moved_to_a_higher_edge(shape):
    rng = np.random.default_rng(1)
    excess = 2.0 * (rng.uniform(size=200_000) ** -shape - 1) / shape
    tail = Tail.fit(np.sort(excess), np.ones(len(excess)), 3.0, 1.0)
    assert tail.shape == pytest.approx(shape, abs=0.02)
    assert tail.scale == pytest.approx(2.0 + shape * 3.0, rel=0.05)
    beyond = excess[excess > 3.0] - 3.0
    for x in (1.0, 5.0, 20.0):
        assert np.exp(tail.log_survival(x)) == pytest.approx((beyond > x).mean(), abs=0.01)


def test_few_excesses_keep_the_prior_shape_and_any_tail_has_a_finite_mean():
    few = Tail.fit(np.array([0.1, 0.2, 5.0]), np.ones(3), 0.0, 1.0)
    assert few.shape == pytest.approx(0.25, abs=0.02)
    assert few.scale / (1 - few.shape) == pytest.approx(5.3 / 3)
    assert Tail.fit(np.empty(0), np.empty(0), 0.0, 0.7) == (0.25, 0.7)
    assert Tail.fit(np.geomspace(1e-6, 1e6, 5000), np.ones(5000), 0.0, 1.0).shape <= 0.5
