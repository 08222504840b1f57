"""Pictures of laws and of risk show the figures that the laws and the paths have."""

from contextlib import contextmanager

import numpy as np
import pytest
from matplotlib.figure import Figure
from scipy import stats

from data_pipeline import BadInput
from data_pipeline.picture import picture
from mqc_jax.forecasting import density_plot, risk_plot
from mqc_jax.forecasting.density_plot import next_return_density, quantiles
from mqc_jax.forecasting.risk import drawdown_quantile, drawdowns, probability_of_touching
from mqc_jax.forecasting.risk_plot import risk_picture
from mqc_jax.laws.law import Empirical, Student

NORMAL = np.random.default_rng(0).normal(0, 0.02, (2000, 10))
DRAWDOWNS = drawdowns(NORMAL, 10)
STUDENT = Student(np.array([0.001]), np.array([0.02]), 4.0)
STILL = Empirical(np.repeat([0.0, -0.03, 0.03], [400, 50, 50])[None])


@pytest.fixture
def figures(monkeypatch) -> list[Figure]:
    """Every figure that is drawn."""
    kept = []

    @contextmanager
    def kept_picture(path, width, height):
        with picture(path, width, height) as figure:
            yield figure
        kept.append(figure)

    for module in (density_plot, risk_plot):
        monkeypatch.setattr(module, "picture", kept_picture)
    return kept


def legend(axes) -> list[str]:
    return axes.get_legend_handles_labels()[1]


def test_quantiles_by_bisection_are_those_of_the_law():
    levels = np.array([1e-4, 0.01, 0.05, 0.5, 0.99])
    np.testing.assert_allclose(quantiles(STUDENT, levels), stats.t(4, 0.001, 0.02 / np.sqrt(2)).ppf(levels), atol=1e-9)


def test_densities_are_drawn_to_scale_with_their_quantiles_marked(tmp_path, figures):
    next_return_density(tmp_path / "d.png", {"t": STUDENT, "still": STILL}, title="A")
    reference, (left, right) = stats.t(4, 0.1, 2 / np.sqrt(2)), figures[0].axes
    for axes in (left, right):
        x, height = axes.lines[0].get_data()
        np.testing.assert_allclose(height, 100 * reference.pdf(x), rtol=0.02)
        marks = [(line.get_xdata()[0], line.get_ydata()[0]) for line in axes.lines[1:3]]
        expected = [(reference.ppf(level), 100 * reference.pdf(reference.ppf(level))) for level in (0.05, 0.01)]
        np.testing.assert_allclose(marks, expected, rtol=0.02)
    assert right.get_yscale() == "log"
    assert legend(left)[0] == f"t (5 %: {reference.ppf(0.05):+.2f} %, 1 %: {reference.ppf(0.01):+.2f} %)".replace(
        "-", "−"
    )
    x, height = left.lines[3].get_data()
    assert 0.9 < (height * (x[1] - x[0])).sum() / 100 < 1, "a price that repeats holds its share of the area"


def test_the_risk_of_paths_is_drawn_with_its_error(tmp_path, figures):
    risk_picture(tmp_path / "r.png", NORMAL, [-0.05, 0.1], title="A")
    left, right = figures[0].axes
    for text, level in zip(legend(left), (0.5, 0.05, 0.01), strict=True):
        found = drawdown_quantile(NORMAL, level, 10)
        assert text.endswith(f"fall more than {-100 * found.value:.1f} ± {196 * found.standard_error:.1f} %")
    for line, text, barrier in zip(right.lines, legend(right), (-0.05, 0.1), strict=True):
        touched = probability_of_touching(NORMAL, barrier)
        assert line.get_ydata()[-1] == pytest.approx(100 * touched.value)
        assert f"touched by {100 * touched.value:.1f} ± {196 * touched.standard_error:.1f} %" in text
    fall, deeper = left.lines[0].get_data()
    for percent in (2, 5, 10):
        assert np.interp(-percent, -fall, deeper) == pytest.approx(100 * np.mean(percent < -100 * DRAWDOWNS), abs=0.1)


def test_levels_that_the_paths_are_too_few_for_are_not_marked(tmp_path, figures):
    risk_picture(tmp_path / "r.png", NORMAL[:300], [-0.05], title="A")
    assert [text[:4] for text in legend(figures[0].axes[0])] == ["50 %", "5 % "]


@pytest.mark.parametrize(
    ("draw", "says"),
    [
        (lambda path: next_return_density(path, {}, title="A"), "0 laws do not fit"),
        (lambda path: next_return_density(path, dict.fromkeys("abcde", STUDENT), title="A"), "5 laws do not fit"),
        (lambda path: next_return_density(path, {"t": STUDENT.take([0, 0])}, title="A"), "the law t has 2 rows"),
        (lambda path: risk_picture(path, NORMAL, [], title="A"), "0 barriers do not fit"),
        (lambda path: risk_picture(path, NORMAL, [0.0], title="A"), "barrier=0.0 is no move"),
        (lambda path: risk_picture(path, NORMAL[:19], [0.1], title="A"), "simulate 20 or more"),
        (lambda path: risk_picture(path, NORMAL[0], [0.1], title="A"), r"paths of shape \(10,\)"),
    ],
)
def test_what_cannot_be_drawn_is_one_line_and_leaves_no_picture(tmp_path, draw, says):
    with pytest.raises(BadInput, match=says) as raised:
        draw(tmp_path / "a.png")
    assert "\n" not in str(raised.value)
    assert not list(tmp_path.iterdir())
