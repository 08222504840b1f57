"""How good a reconstruction is."""

from __future__ import annotations

import numpy as np


def reconstruction_figures(counts: np.ndarray, real: np.ndarray, decoded: np.ndarray) -> dict[str, float]:
    """Figures of log returns, real and decoded, (T,), and of how often each code was used, (K,).

    R² is the share of the variance that is kept: of returns, and of their sizes, which is what volatility is made of.
    The perplexity is the number of codes that, used equally often, would carry as much.
    """
    share = counts[counts > 0] / counts.sum()
    large = np.abs(real) >= np.quantile(np.abs(real), 0.99)
    return {
        "codes_used_share": float(np.mean(counts > 0)),
        "codebook_perplexity_codes": float(np.exp(-share @ np.log(share))),
        "rmse_log_return": _mean_square(real - decoded) ** 0.5,
        "rmse_log_return_largest_1_percent": _mean_square((real - decoded)[large]) ** 0.5,
        "r2": 1 - _mean_square(real - decoded) / float(np.var(real)),
        "r2_absolute": 1 - _mean_square(np.abs(real) - np.abs(decoded)) / float(np.var(np.abs(real))),
    }


def _mean_square(error: np.ndarray) -> float:
    return float(np.mean(error**2))
