"""Our returns are the ones published figures are about: arch's documented likelihoods come out to the last digit."""

import numpy as np
import pandas as pd
import pytest
from arch import arch_model
from arch.data import wti

from data_pipeline import load_bars, return_series

# log-likelihoods of the examples in arch's documentation, on simple returns in percent
SP500 = {
    -6936.72: {"vol": "GARCH"},
    -6822.88: {"vol": "GARCH", "o": 1},
    -6799.18: {"vol": "GARCH", "o": 1, "power": 1.0},
    -6722.15: {"vol": "GARCH", "o": 1, "power": 1.0, "dist": "StudentsT"},
}
WTI = {-18165.86: {"dist": "normal"}, -17919.64: {"dist": "t"}, -17916.67: {"dist": "skewt"}}


def likelihood(log_returns: np.ndarray, **model) -> float:
    return arch_model(100 * np.expm1(log_returns), **model).fit(disp="off", update_freq=0).loglikelihood


@pytest.mark.parametrize("published", SP500)
def test_sp500(published):
    (series,) = (s for s in return_series(load_bars("bundled")) if s.unique_id == "SP500")
    assert likelihood(series.log_returns, **SP500[published]) == pytest.approx(published, abs=0.01)


@pytest.mark.parametrize("published", WTI)
def test_wti(published):
    """With the two days of 2019 that the bundled source leaves out, and without a price on holidays."""
    frame = wti.load().dropna()
    bars = pd.DataFrame({"unique_id": "WTI", "ds": frame.index, "close": frame["DCOILWTICO"].to_numpy()})
    (series,) = return_series(bars)
    assert likelihood(series.log_returns, **WTI[published]) == pytest.approx(published, abs=0.01)
