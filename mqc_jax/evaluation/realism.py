"""Simulated paths beside real returns: do they behave alike, and can a classifier tell them apart?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from rich.table import Table

from mqc_jax.evaluation.discriminator import LEAST_LENGTH, discriminate
from mqc_jax.evaluation.page import table
from mqc_jax.evaluation.reference_paths import reference_paths
from mqc_jax.evaluation.stylized_facts import FACTS, facts_inside, stylized_facts

MODEL = "gpt"
CAPTION = (
    "Of the eight facts, those whose figures on the real returns lie in the 90 % band of the simulated ones, and those "
    "that do not. AUC: how well a classifier tells real from simulated, 0.5 is not at all; in brackets what it finds "
    "where there is nothing to tell. The bootstrap is made of the real returns themselves."
)
HEADS = ("paths", "facts", "outside", "AUC", "of its own paths", "of real ones")


def realism(real_T: np.ndarray, past_T: np.ndarray, paths_PT: np.ndarray, *, seed: int = 0) -> dict[str, Any]:
    """The model's paths of one asset's log returns, and the reference paths beside them; ready for JSON.

    Args:
      real_T: the returns that came.
      past_T: those before them, to which the references are fitted.
      paths_PT: the model's paths of the same dates, at least 20.
      seed: of the references and the classifier.
    """
    sources = {MODEL: paths_PT, **reference_paths(real_T, past_T, len(paths_PT), seed=seed)}
    return {name: _judged(real_T, paths, seed) for name, paths in sources.items()}


def _judged(real_T: np.ndarray, paths_PT: np.ndarray, seed: int) -> dict[str, Any]:
    figures = stylized_facts(real_T, paths_PT)
    found: dict[str, Any] = {"figures": figures, "facts_inside": facts_inside(figures), "discriminator": None}
    if len(real_T) >= LEAST_LENGTH:
        found["discriminator"] = discriminate(real_T, paths_PT, seed=seed)._asdict()
    return found


def _cells(name: str, found: Mapping[str, Any]) -> tuple[str, ...]:
    inside = found["facts_inside"]
    outside = ", ".join(fact.replace("_", " ") for fact in FACTS if inside[fact] is False) or "none"
    told = found["discriminator"]
    aucs = ("–", "–", "–")
    if told is not None:
        low, high = ([f"{auc:.2f}" for auc in told[null]] for null in ("path_vs_paths", "real_vs_real"))
        aucs = (f"{told['auc']:.2f}", f"({low[0]} to {low[1]})", f"({high[0]} to {high[1]})")
    return (name, f"{sum(value is True for value in inside.values())} of {len(inside)}", outside, *aucs)


def terminal_table(asset: str, found: Mapping[str, Any]) -> Table:
    """One asset's, for the terminal."""
    shown = Table(title=f"{asset}: simulated paths beside the real one", title_justify="left", box=None)
    for head in HEADS:
        shown.add_column(head, justify="left" if head in ("paths", "outside") else "right")
    for name, source in found.items():
        shown.add_row(*_cells(name, source), style="bold" if name == MODEL else "")
    return shown


def html_section(found: Mapping[str, Mapping[str, Any]]) -> str:
    """All assets', for the page."""
    parts = [f"<h2>Simulated paths beside the real ones</h2>\n<p>{CAPTION}</p>"]
    for asset, sources in found.items():
        rows = [(name, _cells(name, source)[1:], name == MODEL) for name, source in sources.items()]
        parts.append(table(f"Simulated paths of {asset}", asset, HEADS, rows))
    return "\n".join(parts)
