"""Where the bins are cut, as cells of a sketch of z. Each takes the sketch and the number of bins."""

from __future__ import annotations

import numpy as np

from data_pipeline.sketch import Sketch, key_of

TAIL = np.array([0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0]) / 100  # levels of the eight edges in a tail of 128 bins
N_SIGMA = 5.0


def equal_mass(sketch: Sketch, n_bins: int) -> np.ndarray:
    """As many training values in each bin."""
    return sketch.quantile_keys(np.arange(1, n_bins) / n_bins)


def equal_width(sketch: Sketch, n_bins: int) -> np.ndarray:
    """Bins of one width within N_SIGMA standard deviations of the mean."""
    reach = N_SIGMA * sketch.standard_deviation
    return key_of(np.linspace(sketch.mean - reach, sketch.mean + reach, n_bins - 1))


def fine_tails(sketch: Sketch, n_bins: int) -> np.ndarray:
    """Equal mass between the 1 % and 99 % quantiles, and a sixteenth of the bins in each tail."""
    return sketch.quantile_keys(fine_tail_levels(n_bins))


def fine_tail_levels(n_bins: int) -> np.ndarray:
    """The quantiles at which `fine_tails` cuts, for a multiple of 16 bins: those of n are every second one of 2n."""
    n_tail = n_bins // 16
    place = np.arange(1, n_tail + 1) * len(TAIL) / n_tail
    tail = np.exp(np.interp(place, np.arange(len(TAIL) + 1), np.log(np.concatenate([[TAIL[0] / 2], TAIL]))))
    centre = np.linspace(0.01, 0.99, n_bins - 2 * n_tail + 1)[1:-1]
    return np.concatenate([tail, centre, 1 - tail[::-1]])
