"""Distributions of returns: those of models and classics alike, and what tokens' probabilities say of a return."""
