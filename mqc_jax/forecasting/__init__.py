"""From a trained run to paths and pictures."""

from mqc_jax.forecasting.paths import History, path_returns, sample_tokens

__all__ = ["History", "path_returns", "sample_tokens"]
