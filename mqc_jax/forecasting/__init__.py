"""From a trained run to forecasts: quantiles, paths and exact laws of the next return, risk and pictures."""

from mqc_jax.forecasting.forecaster import Forecaster
from mqc_jax.forecasting.history import History
from mqc_jax.forecasting.paths import Paths, draw_paths, series_key, simulate

__all__ = ["Forecaster", "History", "Paths", "draw_paths", "series_key", "simulate"]
