"""From a trained run to laws, paths, frames and pictures of what may come."""

from mqc_jax.forecasting.forecaster import Forecaster
from mqc_jax.forecasting.paths import History, path_returns, sample_tokens

__all__ = ["Forecaster", "History", "path_returns", "sample_tokens"]
