"""Names are drawn as they stand, whatever letters they have, and nothing is said about fonts."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.image import imread

from data_pipeline import picture as pictures
from data_pipeline.analyze import analyze
from data_pipeline.analyze_report import analysis_chart
from data_pipeline.picture import picture
from data_pipeline.plots import findings_chart
from mqc_jax.forecasting.density_plot import next_return_density
from mqc_jax.forecasting.plots import fan_chart
from mqc_jax.forecasting.risk_plot import risk_picture
from mqc_jax.laws.law import Student

ODD = r"贵州茅台 B$\bad$ ไทย"
TIMES, PRICES = pd.date_range("2020-01-01", periods=9), np.arange(1.0, 10)
CHARTS = {
    "findings": lambda path: findings_chart(path, pd.DataFrame({"ds": TIMES, "close": PRICES}), [], ODD),
    "analysis": lambda path: analysis_chart(path, analyze([np.array([0, 1, 0, 1, 1])], 2, shuffles=2), ODD),
    "fan": lambda path: fan_chart(
        path, title=ODD, times=TIMES.to_numpy(), prices=PRICES, cutoff=8, cutoff_label=ODD, paths=PRICES[None]
    ),
    "density": lambda path: next_return_density(path, {ODD: Student(np.zeros(1), np.ones(1), 5.0)}, title=ODD),
    "risk": lambda path: risk_picture(path, np.random.default_rng(0).normal(0, 0.02, (40, 5)), [-0.01], title=ODD),
}


@pytest.mark.parametrize("chart", CHARTS)
def test_charts_of_assets_with_odd_names_are_drawn_in_silence(tmp_path, recwarn, chart):
    CHARTS[chart](tmp_path / "a.png")
    assert imread(tmp_path / "a.png")[..., :3].std() > 0.01
    assert not recwarn.list, [str(warning.message) for warning in recwarn]


def title(path, text):
    with picture(path, 4, 1) as figure:
        figure.suptitle(text)
    return imread(path)


def test_a_letter_comes_from_a_font_that_has_it(tmp_path, monkeypatch):
    letter = "ᶁ"  # in STIX, which comes with matplotlib, and not in its usual font
    box = title(tmp_path / "a.png", letter)
    monkeypatch.setattr(pictures, "FONTS", ("not installed", "STIXGeneral"))
    assert (title(tmp_path / "b.png", letter) != box).any()
    np.testing.assert_array_equal(title(tmp_path / "c.png", "AAPL"), title(tmp_path / "d.png", "AAPL"))


def test_a_drawing_that_fails_leaves_no_picture(tmp_path):
    with pytest.raises(ZeroDivisionError), picture(tmp_path / "a.png", 4, 1):
        _ = 1 / 0
    assert not (tmp_path / "a.png").exists()
