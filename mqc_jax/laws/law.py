"""Laws of returns: N distributions side by side, one per scored row, in raw log returns.

Axis letters: N rows  M points  K bins  S samples  J knots.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, Self, TypeAlias

import numpy as np
from scipy.special import gammaln, stdtr

from data_pipeline.tokenizers.bins import Bins
from mqc_jax.laws import distribution

Rows: TypeAlias = slice | np.ndarray  # a slice, integers in any order, or a mask
Parameter: TypeAlias = float | np.ndarray  # one for all rows, or (N,)

KNOTS = 16  # on either side of the middle of a historical law
TAIL_SHARE = 0.05  # of the samples on either side, whose mean excess is the scale of the tail beyond the last of them
NARROW = 1e-3  # standard deviations that two knots are apart at least
SHORT = 0.1  # standard deviations that the scale of a historical tail is long at least
STILL = 1e-4  # least standard deviation, in log return, for samples that hardly move


class Law(Protocol):
    """N continuous distributions of returns with finite variance."""

    def __len__(self) -> int:
        """N."""
        ...

    def cdf(self, points_NM: np.ndarray) -> np.ndarray:
        """P(return ≤ point) at M points per row, (N, M)."""
        ...

    def log_density(self, returns_N: np.ndarray) -> np.ndarray:
        """Log density, per unit of log return, at one point per row, (N,)."""
        ...

    def take(self, rows: Rows) -> Self:
        """The law of these rows, in this order."""
        ...


@dataclass(frozen=True, eq=False)
class Binned:
    """location + scale · z, where z has the given masses over `bins`: what a row of token probabilities stands for."""

    bins: Bins
    location_N: np.ndarray
    scale_N: np.ndarray
    masses_NK: np.ndarray  # or one row, (K,), for all N

    def __len__(self) -> int:
        return len(self.location_N)

    def cdf(self, points_NM: np.ndarray) -> np.ndarray:
        z_NM = (points_NM - self.location_N[:, None]) / self.scale_N[:, None]
        return np.minimum(distribution.cdf(z_NM, self.bins, self.masses_NK), 1)  # masses add up to 1 but for rounding

    def log_density(self, returns_N: np.ndarray) -> np.ndarray:
        z_N = (returns_N - self.location_N) / self.scale_N
        return distribution.log_density(z_N, self.bins, self.masses_NK) - np.log(self.scale_N)

    def take(self, rows: Rows) -> Binned:
        masses = self.masses_NK if self.masses_NK.ndim == 1 else self.masses_NK[rows]
        return Binned(self.bins, self.location_N[rows], self.scale_N[rows], masses)


@dataclass(frozen=True, eq=False)
class SkewStudent:
    """Hansen's (1994) skewed t with this mean and standard deviation.

    `eta` > 2 degrees of freedom and skewness −1 < `lam` < 1, negative for the longer tail on the left. The density is
    that of a t on either side of its mode, 1 − λ wide on the left and 1 + λ on the right. Raises ValueError for other
    parameters.
    """

    mean_N: np.ndarray
    volatility_N: np.ndarray
    eta: Parameter
    lam: Parameter

    def __post_init__(self) -> None:
        _require_variance(self.eta)
        if not np.less(np.abs(self.lam), 1).all():
            raise ValueError(f"skewness {self.lam} is not between -1 and 1")

    def __len__(self) -> int:
        return len(self.mean_N)

    def cdf(self, points_NM: np.ndarray) -> np.ndarray:
        z_NM = (points_NM - self.mean_N[:, None]) / self.volatility_N[:, None]
        eta, lam = _column(self.eta), _column(self.lam)
        t_NM = _student_of(z_NM, eta, lam)
        below_NM, left, right = stdtr(eta, t_NM), 1 - lam, 1 + lam
        return np.where(t_NM < 0, left * below_NM, left / 2 + right * (below_NM - 0.5))

    def log_density(self, returns_N: np.ndarray) -> np.ndarray:
        t_N = _student_of((returns_N - self.mean_N) / self.volatility_N, self.eta, self.lam)
        peak = _stretch(self.eta) * _hansen(self.eta, self.lam)[1]
        return _log_student(self.eta, t_N) + np.log(peak / self.volatility_N)

    def take(self, rows: Rows) -> SkewStudent:
        return SkewStudent(self.mean_N[rows], self.volatility_N[rows], _pick(self.eta, rows), _pick(self.lam, rows))


@dataclass(frozen=True, eq=False)
class Student:
    """Student's t with this mean, standard deviation and `nu` > 2 degrees of freedom: its scale is σ √((ν − 2) / ν).

    Raises ValueError for other parameters.
    """

    mean_N: np.ndarray
    volatility_N: np.ndarray
    nu: Parameter

    def __post_init__(self) -> None:
        _require_variance(self.nu)

    def __len__(self) -> int:
        return len(self.mean_N)

    def cdf(self, points_NM: np.ndarray) -> np.ndarray:
        return self._unskewed.cdf(points_NM)

    def log_density(self, returns_N: np.ndarray) -> np.ndarray:
        return self._unskewed.log_density(returns_N)

    def take(self, rows: Rows) -> Student:
        return Student(self.mean_N[rows], self.volatility_N[rows], _pick(self.nu, rows))

    @cached_property
    def _unskewed(self) -> SkewStudent:
        return SkewStudent(self.mean_N, self.volatility_N, self.nu, 0.0)


@dataclass(frozen=True, eq=False)
class Empirical:
    """Historical simulation: the law of the S samples in each row, smoothed just enough to have a density.

    A value exchangeable with S samples is below the i-th smallest of them with probability i / (S + 1). The CDF passes
    through these points at ranks that grow geometrically from either end, and is linear between them: the outermost
    samples count one by one, those in the middle in groups (a density from single gaps between samples would lose
    1 − γ = 0.42 nats to their noise). The mass of 1 / (S + 1) beyond the outermost sample falls off exponentially, on
    the scale of the mean excess of the outer 5 %. Knots at a value that repeats (an unchanged price) are moved apart by
    a thousandth of the standard deviation. So the density is positive and finite everywhere. Raises ValueError for
    fewer than 3 samples.
    """

    samples_NS: np.ndarray  # may be a sliding window's view: it is never copied whole

    def __post_init__(self) -> None:
        if self.samples_NS.ndim != 2 or self.samples_NS.shape[1] < 3:
            raise ValueError(f"samples of shape {self.samples_NS.shape} are no rows of 3 samples or more")

    def __len__(self) -> int:
        return len(self.samples_NS)

    def cdf(self, points_NM: np.ndarray) -> np.ndarray:
        knots_NJ, left_N, right_N = self._shape
        levels_J = self._ranks_J / (self.samples_NS.shape[1] + 1)
        inner_NM = np.empty(np.shape(points_NM))
        for n, points_M in enumerate(points_NM):
            inner_NM[n] = np.interp(points_M, knots_NJ[n], levels_J)
        below_NM = np.expm1(np.minimum(points_NM - knots_NJ[:, :1], 0) / left_N[:, None])
        above_NM = np.expm1(np.minimum(knots_NJ[:, -1:] - points_NM, 0) / right_N[:, None])
        return inner_NM + levels_J[0] * (below_NM - above_NM)

    def log_density(self, returns_N: np.ndarray) -> np.ndarray:
        knots_NJ, left_N, right_N = self._shape
        k_N = (knots_NJ <= returns_N[:, None]).sum(axis=1)
        share_N = np.diff(self._ranks_J, prepend=0, append=self.samples_NS.shape[1] + 1)[k_N]
        widths = np.concatenate([left_N[:, None], np.diff(knots_NJ, axis=1), right_N[:, None]], axis=1)
        width_N = np.take_along_axis(widths, k_N[:, None], axis=1)[:, 0]
        excess_N = np.maximum(np.maximum(knots_NJ[:, 0] - returns_N, returns_N - knots_NJ[:, -1]), 0)
        return np.log(share_N / (self.samples_NS.shape[1] + 1) / width_N) - excess_N / width_N

    def take(self, rows: Rows) -> Empirical:
        return Empirical(self.samples_NS[rows])

    @cached_property
    def _ranks_J(self) -> np.ndarray:
        n_samples = self.samples_NS.shape[1]
        rank = np.unique(np.geomspace(1, (n_samples + 1) / 2, KNOTS).astype(int))
        return np.union1d(rank, n_samples + 1 - rank[:-1])

    @cached_property
    def _shape(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The knots, increasing, and the scales of the left and right tail, (N, J), (N,), (N,)."""
        parts = [_knots_and_scales(part, self._ranks_J) for part in _blocks(self.samples_NS)]
        knots_NJ, left_N, right_N = (np.concatenate(part) for part in zip(*parts, strict=True))
        return knots_NJ, left_N, right_N


def _require_variance(degrees_of_freedom: Parameter) -> None:
    if not np.greater(degrees_of_freedom, 2).all():
        raise ValueError(f"{np.min(degrees_of_freedom)} degrees of freedom have no variance; give more than 2")


def _column(parameter: Parameter) -> Parameter:
    return parameter[:, None] if isinstance(parameter, np.ndarray) and parameter.ndim else parameter


def _pick(parameter: Parameter, rows: Rows) -> Parameter:
    return parameter[rows] if isinstance(parameter, np.ndarray) and parameter.ndim else parameter


def _log_student(nu: Parameter, t: Parameter) -> Parameter:
    """Log density of Student's t at `t`."""
    return gammaln((nu + 1) / 2) - gammaln(nu / 2) - np.log(nu * np.pi) / 2 - (nu + 1) / 2 * np.log1p(t**2 / nu)


def _stretch(nu: Parameter) -> Parameter:
    """Standard deviation of Student's t."""
    return np.sqrt(nu / (nu - 2))


def _hansen(eta: Parameter, lam: Parameter) -> tuple[Parameter, Parameter]:
    """The constants a and b of Hansen (1994) that make the mean 0 and the variance 1."""
    c = _stretch(eta) * np.exp(_log_student(eta, 0.0))
    a = 4 * lam * c * (eta - 2) / (eta - 1)
    return a, np.sqrt(1 + 3 * lam**2 - a**2)


def _student_of(z: np.ndarray, eta: Parameter, lam: Parameter) -> np.ndarray:
    """Where a Student's t stands in its half when its skewed version stands at z; negative left of the mode."""
    a, b = _hansen(eta, lam)
    from_mode = b * z + a
    return _stretch(eta) * from_mode / (1 + np.sign(from_mode) * lam)


def _blocks(array: np.ndarray, values: int = 2**22) -> Iterator[np.ndarray]:
    step = max(values // array.shape[1], 1)
    return (array[start : start + step] for start in range(0, max(len(array), 1), step))


def _knots_and_scales(samples_NS: np.ndarray, ranks_J: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    sorted_NS = np.sort(samples_NS, axis=1)
    spread_N = np.maximum(samples_NS.std(axis=1), STILL)
    apart_NJ = NARROW * spread_N[:, None] * np.arange(len(ranks_J))
    knots_NJ = np.maximum.accumulate(sorted_NS[:, ranks_J - 1] - apart_NJ, axis=1) + apart_NJ
    outer = max(round(TAIL_SHARE * samples_NS.shape[1]), 1)
    left_N = sorted_NS[:, outer] - sorted_NS[:, :outer].mean(axis=1)
    right_N = sorted_NS[:, -outer:].mean(axis=1) - sorted_NS[:, -outer - 1]
    return knots_NJ, np.maximum(left_N, SHORT * spread_N), np.maximum(right_N, SHORT * spread_N)
