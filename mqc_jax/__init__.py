"""mqc-jax: a small GPT on tokenized price returns, as calibrated probabilities."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mqc_jax.config import Config, DataConfig, ModelConfig, TrainConfig
    from mqc_jax.decoding import Sampler, generate
    from mqc_jax.forecasting import Forecaster
    from mqc_jax.model import GPT
    from mqc_jax.run import Run, load_run

__all__ = [
    "GPT",
    "Config",
    "DataConfig",
    "Forecaster",
    "ModelConfig",
    "Run",
    "Sampler",
    "TrainConfig",
    "generate",
    "load_run",
]

_HOME = {
    "Forecaster": "forecasting",
    "GPT": "model",
    "Run": "run",
    "load_run": "run",
    "Sampler": "decoding",
    "generate": "decoding",
}


def __getattr__(name: str) -> Any:
    """Import on first use: `mqc --help` need not wait for JAX."""
    if name not in __all__:
        raise AttributeError(f"module 'mqc_jax' has no attribute {name!r}")
    return getattr(import_module(f"mqc_jax.{_HOME.get(name, 'config')}"), name)
