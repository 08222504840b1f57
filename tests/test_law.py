"""Laws of returns against scipy and arch, and what a table says about them against integrals of their CDFs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pytest
import scoringrules
from arch.univariate import SkewStudent as ArchSkewStudent
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.integrate import quad

from data_pipeline.tokenizers.bins import Bins
from data_pipeline.tokenizers.cuts import fine_tail_levels
from mqc_jax.evaluation import table
from mqc_jax.evaluation.combined import Pool, Scaled, concatenate
from mqc_jax.evaluation.table import GRID, Table
from mqc_jax.laws.law import Binned, Empirical, Law, SkewStudent, Student


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


MEAN, VOLATILITY = np.array([0.001, -0.002, 0.0, 0.0005, 0.003]), np.array([0.01, 0.03, 0.002, 0.1, 0.015])
NU = np.array([2.5, 3.0, 4.7, 12.0, 60.0])
BINS = Bins.fit(rng().standard_t(4, 20_000), fine_tail_levels(32))
MASSES = rng().dirichlet(np.full(len(BINS.values), 3.0), 5)
SKEW = np.linspace(-0.6, 0.6, 5)
STUDENT, SKEWED = Student(MEAN, VOLATILITY, NU), SkewStudent(MEAN, VOLATILITY, NU, SKEW)
BINNED = Binned(BINS, MEAN, VOLATILITY, MASSES)
RTOL = {0.33: 2e-3, 1.0: 1.2e-3, 3.0: 2e-3}
LEVELS = np.array([0.001, 0.01, 0.025, 0.05, 0.25, 0.5, 0.9, 0.99])


def laws() -> dict[str, Law]:
    samples = MEAN[:, None] + VOLATILITY[:, None] * rng().standard_t(4, (5, 300))
    return {
        "binned": BINNED,
        "binned with masses for all": Binned(BINS, MEAN, VOLATILITY, BINS.masses),
        "student": STUDENT,
        "student with one nu": Student(MEAN, VOLATILITY, 5.0),
        "skew student": SKEWED,
        "skew student with one shape": SkewStudent(MEAN, VOLATILITY, 6.0, -0.2),
        "empirical": Empirical(samples),
        "pool": Pool([STUDENT, Empirical(samples)], [0.3, 0.7]),
        "joined": concatenate([SKEWED, STUDENT]).take(np.array([0, 6, 2, 8, 4])),
    }


every_law = pytest.mark.parametrize("law", laws().values(), ids=laws().keys())


@every_law
def test_the_cdf_rises_from_zero_to_one(law):
    points = np.sort(np.concatenate([np.linspace(-9, 9, 2001), [-1e9, 1e9]]))
    cdf = law.cdf(MEAN[:, None] + VOLATILITY[:, None] * points)
    assert (np.diff(cdf) >= -1e-15).all() and (cdf >= 0).all() and (cdf <= 1).all()
    np.testing.assert_allclose(cdf[:, [0, -1]], np.tile([0.0, 1.0], (5, 1)), atol=1e-8)
    assert (np.diff(cdf[:, 1:-1], axis=1) > 0).mean() > 0.99, "no mass over most of the line"


@every_law
def test_the_density_is_the_slope_of_the_cdf_and_integrates_to_one(law):
    z, step = rng().standard_t(2, (500, 5)), 1e-5 * VOLATILITY
    rises = [law.cdf((MEAN + VOLATILITY * z_N + side * step)[:, None])[:, 0] for z_N in z for side in (-1, 1)]
    slope = np.diff(np.reshape(rises, (500, 2, 5)), axis=1)[:, 0] / (2 * step)
    density = np.exp([law.log_density(MEAN + VOLATILITY * z_N) for z_N in z])
    same = np.isclose(density * VOLATILITY, slope * VOLATILITY, rtol=1e-4, atol=1e-8)
    assert same.mean() > 0.997, "but for points next to a kink of the CDF"
    edges = MEAN[:, None] + VOLATILITY[:, None] * 1e3 * np.sinh(np.linspace(-12, 12, 8001)) / np.sinh(12)
    middles, rows = (edges[:, 1:] + edges[:, :-1]) / 2, np.repeat(np.arange(5), 8000)
    mass = np.exp(law.take(rows).log_density(middles.ravel())).reshape(5, 8000) * np.diff(edges)
    np.testing.assert_allclose(mass.sum(axis=1), 1, atol=3e-3)


@every_law
def test_rows_taken_in_any_order_are_the_same_laws(law):
    points, rows = rng().normal(0, 0.02, (5, 7)), np.array([3, 0, 0, 4])
    np.testing.assert_array_equal(law.take(rows).cdf(points[rows]), law.cdf(points)[rows])
    np.testing.assert_array_equal(law.take(rows).log_density(points[rows, 0]), law.log_density(points[:, 0])[rows])
    np.testing.assert_array_equal(law.take(slice(1, 3)).cdf(points[1:3]), law.cdf(points)[1:3])
    assert len(law) == 5 and len(law.take(rows)) == 4 and len(law.take(slice(1, 3))) == 2


means = st.floats(-0.1, 0.1)
volatilities = st.floats(1e-5, 10)
degrees = st.floats(2.05, 200)


@settings(deadline=None)
@given(means, volatilities, degrees, st.floats(-50, 50))
def test_student_is_scipys_t_with_that_variance(mean, volatility, nu, z):
    law, point = Student(np.array([mean]), np.array([volatility]), nu), mean + volatility * z
    reference = stats.t(nu, mean, volatility * np.sqrt((nu - 2) / nu))
    np.testing.assert_allclose(law.cdf(np.array([[point]])), [[reference.cdf(point)]], rtol=1e-6, atol=1e-14)
    np.testing.assert_allclose(law.log_density(np.array([point])), [reference.logpdf(point)], atol=1e-8)


@settings(deadline=None)
@given(means, volatilities, degrees, st.floats(-0.95, 0.95), st.floats(-50, 50))
def test_skew_student_is_archs(mean, volatility, eta, lam, z):
    law, point = SkewStudent(np.array([mean]), np.array([volatility]), eta, lam), np.array([mean + volatility * z])
    arch, parameters = ArchSkewStudent(), np.array([eta, lam])
    z = (point - mean) / volatility
    np.testing.assert_allclose(law.cdf(point[None])[0], arch.cdf(z, parameters), rtol=1e-6, atol=1e-12)
    expected = arch.loglikelihood(parameters, point - mean, np.array([volatility**2]), individual=True)
    np.testing.assert_allclose(law.log_density(point), expected, atol=1e-8)


def test_skew_student_has_the_mean_and_the_variance_it_is_given():
    law = SkewStudent(MEAN, VOLATILITY, np.array([5.0, 6, 8, 20, 100]), np.array([-0.8, -0.3, 0.0, 0.4, 0.9]))
    figures = Table.of(law, VOLATILITY)
    np.testing.assert_allclose((figures.mean() - MEAN) / VOLATILITY, 0, atol=5e-4)


def reference_binned_cdf(row: int) -> Callable[[np.ndarray], np.ndarray]:
    """The CDF of that row, with scipy's Pareto."""
    left, right = (stats.genpareto(tail.shape, scale=tail.scale) for tail in (BINS.left, BINS.right))
    masses, edges = MASSES[row], BINS.edges

    def cdf(points: np.ndarray) -> np.ndarray:
        z = (points - MEAN[row]) / VOLATILITY[row]
        inner = np.interp(z, edges, np.cumsum(masses[:-1]))
        below, above = masses[0] * left.sf(edges[0] - z), 1 - masses[-1] * right.sf(z - edges[-1])
        return np.select([z < edges[0], z >= edges[-1]], [below, above], inner)

    return cdf


@pytest.mark.parametrize("row", [0, 1, 4])
def test_binned_is_uniform_in_bins_and_pareto_in_the_tails_of_the_scaled_line(row):
    points = MEAN[row] + VOLATILITY[row] * np.array([-300, -20, *BINS.edges[::5], 0.01, 20, 300])
    expected = reference_binned_cdf(row)(points)
    np.testing.assert_allclose(BINNED.take(np.array([row])).cdf(points[None])[0], expected, atol=1e-12)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.integers(6, 200))
def test_a_new_value_is_below_the_outer_samples_of_history_as_often_as_their_ranks_say(seed, n_samples):
    """Exact for exchangeable values: leave out each of S + 1 in turn."""
    values = rng(seed).permutation(np.cumsum(0.1 + rng(seed).exponential(size=n_samples + 1)))
    law = Empirical(np.array([np.delete(values, i) for i in range(n_samples + 1)]))
    level = law.cdf(values[:, None])[:, 0] * (n_samples + 1)
    for rank in (1, 2, n_samples - 1, n_samples):
        assert (level < rank).sum() == rank


def test_history_at_length_is_the_law_it_was_drawn_from():
    law, z, y = Empirical(rng(1).standard_t(4, (500, 4000))), np.linspace(-6, 6, 200), rng(2).standard_t(4, (20, 500))
    np.testing.assert_allclose(law.cdf(np.tile(z, (500, 1))), np.tile(stats.t(4).cdf(z), (500, 1)), atol=0.04)
    lost = stats.t(4).logpdf(y) - [law.log_density(y_N) for y_N in y]
    assert 0 < lost.mean() < 0.03, "nats lost by not knowing the law"


@pytest.mark.parametrize(
    "samples",
    [
        np.zeros(250),
        np.repeat([0.0, 0.01], [240, 10]),
        np.repeat([-0.1, 0.0, 0.1], [20, 210, 20]),
        np.array([0.01, 0.02, 0.04]),
    ],
    ids=["still", "nearly still", "limit moves", "three"],
)
def test_no_history_makes_a_score_infinite(samples):
    y = np.array([-20, -0.1, -1e-9, 0.0, 1e-9, 0.01, 0.1, 20])
    law = Empirical(np.tile(samples, (len(y), 1)))
    assert np.isfinite(law.log_density(y)).all()
    assert law.log_density(y).max() < np.log(1e7), "a value that repeats must not win without bound"
    figures = Table.of(law, np.full(len(y), 0.01))
    assert np.isfinite(figures.crps(y)).all() and np.isfinite(figures.expected_shortfall(LEVELS)).all()


def test_a_value_that_repeats_holds_its_share():
    samples = rng().permutation(np.append(rng().normal(size=600) * 0.01, np.zeros(400)))
    law, near = Empirical(samples[None]), np.array([[-1e-3, 1e-3]])
    low, high = law.cdf(near)[0]
    assert 0.4 < high - low < 0.55
    assert law.log_density(np.zeros(1)) > np.log(0.3 / 1e-3)


def test_history_can_be_a_sliding_view():
    returns = rng().normal(size=400)
    view = np.lib.stride_tricks.sliding_window_view(returns, 100)
    copied = np.array([returns[i : i + 100] for i in range(301)])
    np.testing.assert_array_equal(Empirical(view).log_density(view[:, 3]), Empirical(copied).log_density(copied[:, 3]))


def test_a_pool_is_the_weighted_mean_of_densities():
    parts, points = (STUDENT, BINNED), rng().normal(0, 0.02, (5, 9))
    pool = Pool(parts, [0.25, 0.75])
    np.testing.assert_allclose(pool.cdf(points), 0.25 * parts[0].cdf(points) + 0.75 * parts[1].cdf(points), atol=1e-15)
    density = [np.exp(part.log_density(points[:, 0])) for part in parts]
    np.testing.assert_allclose(np.exp(pool.log_density(points[:, 0])), 0.25 * density[0] + 0.75 * density[1])
    alone = Pool(parts, [0.0, 1.0])
    np.testing.assert_allclose(alone.log_density(points[:, 0]), BINNED.log_density(points[:, 0]), rtol=1e-12)


def test_laws_scored_apart_are_joined_in_any_order():
    first, second = STUDENT.take(np.array([0, 3])), BINNED.take(np.array([1]))
    joined, points = concatenate([first, second]).take(np.array([2, 0, 1])), rng().normal(0, 0.02, (3, 4))
    np.testing.assert_array_equal(joined.cdf(points)[:1], second.cdf(points[:1]))
    np.testing.assert_array_equal(joined.log_density(points[:, 0])[1:], first.log_density(points[1:, 0]))


@pytest.mark.parametrize(
    "build",
    [
        lambda: Student(MEAN, VOLATILITY, 2.0),
        lambda: Student(MEAN, VOLATILITY, np.array([4, 4, np.nan, 4, 4])),
        lambda: SkewStudent(MEAN, VOLATILITY, 5.0, 1.0),
        lambda: Empirical(np.zeros((3, 2))),
        lambda: Pool([STUDENT, BINNED], [0.5, 0.6]),
        lambda: Pool([STUDENT, BINNED], [1.5, -0.5]),
        lambda: Pool([STUDENT, BINNED.take(slice(2))], [0.5, 0.5]),
        lambda: Table.of(STUDENT, VOLATILITY).quantile(np.array([0.0])),
    ],
)
def test_what_is_no_law_is_refused(build):
    with pytest.raises(ValueError, match=r"^[^\n]+$"):
        build()


def brute_force_crps(cdf: Callable[[np.ndarray], np.ndarray], y: float, unit: float, below: float = np.inf) -> float:
    """Trapezoids of (F − 1)² on either side of the return, densest there, up to `below`."""
    away = unit * 1e3 * np.sinh(np.linspace(0, 14, 100_001)) / np.sinh(14)
    left, right = np.minimum(y - away[::-1], below), np.minimum(y + away, below)
    return float(np.trapezoid(cdf(left) ** 2, left) + np.trapezoid((1 - cdf(right)) ** 2, right))


@pytest.mark.parametrize("z", [-8.0, -1.0, 0.1, 2.5])
@pytest.mark.parametrize("row", [0, 2, 4])
def test_crps_is_the_integral_of_the_squared_error_of_the_cdf(row, z):
    y, one = MEAN[row] + VOLATILITY[row] * z, np.array([row])
    arch, parameters = ArchSkewStudent(), np.array([NU[row], SKEW[row]])
    for law, cdf in (
        (STUDENT, stats.t(NU[row], MEAN[row], VOLATILITY[row] * np.sqrt((NU[row] - 2) / NU[row])).cdf),
        (SKEWED, lambda x: arch.cdf((x - MEAN[row]) / VOLATILITY[row], parameters)),
        (BINNED, reference_binned_cdf(row)),
    ):
        figures = Table.of(law.take(one), VOLATILITY[one])
        expected = brute_force_crps(cdf, y, VOLATILITY[row])
        np.testing.assert_allclose(figures.crps(np.array([y])), expected, rtol=1e-3)
        threshold = MEAN[row] - VOLATILITY[row]
        below = brute_force_crps(cdf, y, VOLATILITY[row], threshold)
        np.testing.assert_allclose(figures.crps(np.array([y]), np.array([threshold])), below, rtol=2e-3)


@pytest.mark.parametrize("off", [0.33, 1.0, 3.0])
def test_crps_of_students_t_is_its_closed_form(off):
    y = rng().normal(size=(200, 5)) * 3 * VOLATILITY
    expected = scoringrules.crps_t(y, NU, MEAN, VOLATILITY * np.sqrt((NU - 2) / NU))
    figures = Table.of(STUDENT.take(np.tile(np.arange(5), 200)), np.tile(VOLATILITY * off, 200))
    np.testing.assert_allclose(figures.crps(y.ravel()), expected.ravel(), rtol=1.5e-3)


@pytest.mark.parametrize("off", [0.33, 1.0, 3.0])
def test_value_at_risk_and_expected_shortfall_of_students_t_are_their_closed_forms(off):
    figures, scale = Table.of(STUDENT, VOLATILITY * off), (VOLATILITY * np.sqrt((NU - 2) / NU))[:, None]
    t = stats.t(NU[:, None]).ppf(LEVELS)
    shortfall = -(NU[:, None] + t**2) / (NU[:, None] - 1) * stats.t(NU[:, None]).pdf(t) / LEVELS
    unit = VOLATILITY[:, None]  # of the tolerance near the median
    for found, expected in ((figures.quantile(LEVELS), t), (figures.expected_shortfall(LEVELS), shortfall)):
        np.testing.assert_allclose(found / unit, (MEAN[:, None] + scale * expected) / unit, rtol=RTOL[off], atol=1e-3)


def test_value_at_risk_and_expected_shortfall_of_the_skewed_t():
    figures, levels = Table.of(SKEWED, VOLATILITY), np.array([0.01, 0.05, 0.5])
    arch = ArchSkewStudent()
    for row in range(5):
        parameters = np.array([NU[row], SKEW[row]])
        quantile = arch.ppf(levels, parameters)
        np.testing.assert_allclose((figures.quantile(levels)[row] - MEAN[row]) / VOLATILITY[row], quantile, atol=3e-3)
        # ∫ ppf over (0, p], with p exp(−s) for the level, so that the end at 0 is smooth
        shortfall = [
            quad(lambda s, p=p, q=parameters: arch.ppf(p * np.exp(-s), q) * np.exp(-s), 0, 40)[0] for p in levels
        ]
        np.testing.assert_allclose(
            (figures.expected_shortfall(levels)[row] - MEAN[row]) / VOLATILITY[row], shortfall, rtol=2e-3
        )


def test_shortfall_within_the_outer_bin_is_that_of_its_pareto_tail():
    level = MASSES[:, 0].min() / 3
    beyond = stats.genpareto(BINS.left.shape, scale=BINS.left.scale)
    excess = beyond.isf(level / MASSES[:, 0])
    mean_excess = excess + (BINS.left.scale + BINS.left.shape * excess) / (1 - BINS.left.shape)
    figures = Table.of(BINNED, VOLATILITY)
    quantile = MEAN + VOLATILITY * (BINS.edges[0] - excess)
    np.testing.assert_allclose(figures.quantile(np.array([level]))[:, 0], quantile, rtol=2e-3)
    shortfall = MEAN + VOLATILITY * (BINS.edges[0] - mean_excess)
    np.testing.assert_allclose(figures.expected_shortfall(np.array([level]))[:, 0], shortfall, rtol=2e-3)


@every_law
def test_quantiles_invert_the_cdf(law):
    figures = Table.of(law, VOLATILITY)
    for n, quantile_P in enumerate(figures.quantile(LEVELS) / VOLATILITY[:, None]):
        right = np.searchsorted(GRID, quantile_P)  # kinks or not, the law's own quantile is between the same points
        around = VOLATILITY[n] * np.array([GRID[right - 1], GRID[right]])
        low, high = law.take(np.array([n, n])).cdf(around)
        assert (low <= LEVELS).all() and (high >= LEVELS).all()
    knots = np.arange(120, 280, 7)  # where the table has the CDF itself
    for row in range(5):
        quantile = figures.quantile(figures.cdf_NM[row, knots])[row]
        np.testing.assert_allclose(quantile, VOLATILITY[row] * GRID[knots], atol=1e-9)
    assert (figures.expected_shortfall(LEVELS) < figures.quantile(LEVELS)).all()


@dataclass(frozen=True)
class Uniform:
    """Uniform between two points of the grid: a law whose table is exact."""

    n_rows: int
    low: float = float(GRID[150])
    high: float = float(GRID[260])

    def __len__(self) -> int:
        return self.n_rows

    def cdf(self, points_NM: np.ndarray) -> np.ndarray:
        return np.clip((points_NM - self.low) / (self.high - self.low), 0, 1)

    def log_density(self, returns_N: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def take(self, rows: np.ndarray | slice) -> Uniform:
        return replace(self, n_rows=len(np.arange(self.n_rows)[rows]))


@settings(deadline=None)
@given(st.lists(st.floats(-5000, 5000), min_size=1, max_size=20))
def test_figures_of_a_law_that_is_linear_between_grid_points_are_exact(y):
    y, law = np.array(y), Uniform(len(y))
    figures, width = Table.of(law, np.ones(len(y))), law.high - law.low
    z = np.clip((y - law.low) / width, 0, 1)
    expected = width * (z**3 + (1 - z) ** 3) / 3 + np.maximum(law.low - y, 0) + np.maximum(y - law.high, 0)
    np.testing.assert_allclose(figures.crps(y), expected, rtol=1e-11)
    np.testing.assert_allclose(figures.quantile(LEVELS)[0], law.low + width * LEVELS, rtol=1e-9)
    np.testing.assert_allclose(figures.expected_shortfall(LEVELS)[0], law.low + width * LEVELS / 2, rtol=1e-9)
    np.testing.assert_allclose(figures.mean()[0], (law.low + law.high) / 2, rtol=1e-9)
    np.testing.assert_allclose(figures.crps(y, np.full(len(y), 1e4)), figures.crps(y), rtol=1e-9)


def test_what_lies_beyond_the_table_sits_on_its_ends():
    figures = Table.of(Uniform(1, -4000.0, 4000.0), np.ones(1))
    np.testing.assert_allclose(figures.expected_shortfall(np.array([0.1, 0.375]))[0], [-1000, -1000])
    np.testing.assert_allclose(figures.crps(np.array([1500.0])) - figures.crps(np.array([1000.0])), 500)


def test_figures_do_not_depend_on_how_many_rows_are_worked_on_at_a_time(monkeypatch):
    law, y, scale = SKEWED.take(np.arange(20) % 5), rng().normal(0, 0.02, 20), np.tile(VOLATILITY, 4)
    together = Table.of(law, scale)
    expected = together.crps(y), together.expected_shortfall(LEVELS)
    monkeypatch.setattr(table, "BLOCK", 7)
    apart = Table.of(law, scale)
    for one, other in zip((apart.crps(y), apart.expected_shortfall(LEVELS)), expected, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_stretched_law_is_that_of_the_stretched_return():
    scale, y = np.linspace(0.5, 2, 5), rng(4).normal(0, 0.02, 5)
    stretched, student = Scaled(STUDENT, scale), Student(MEAN * scale, VOLATILITY * scale, NU)
    points = rng(5).normal(0, 0.03, (5, 7))
    np.testing.assert_allclose(stretched.cdf(points), student.cdf(points), rtol=1e-9)
    np.testing.assert_allclose(stretched.log_density(y), student.log_density(y), rtol=1e-9)
    np.testing.assert_allclose(stretched.take(slice(2, 4)).log_density(y[2:4]), student.log_density(y)[2:4])
