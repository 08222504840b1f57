"""Scores of a model beside its baselines."""

from mqc_jax.evaluation.evaluate import evaluate

__all__ = ["evaluate"]
