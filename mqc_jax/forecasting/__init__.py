"""From a trained run to paths and pictures."""

from mqc_jax.forecasting.history import History
from mqc_jax.forecasting.paths import Paths, draw_paths, series_key, simulate

__all__ = ["History", "Paths", "draw_paths", "series_key", "simulate"]
