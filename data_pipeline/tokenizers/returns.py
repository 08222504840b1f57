"""Tokenizers of single returns: a scaling, and bins of what is scaled.

A return r becomes the bin of z, and z depends on r and on what is known before r only. So the edges of the bins in
return space are known one step ahead, and a row of token probabilities is a distribution over the next return, with an
exact likelihood.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np

from data_pipeline.errors import BadInput
from data_pipeline.sketch import Sketch
from data_pipeline.tokenizers.bins import Bins
from data_pipeline.tokenizers.cuts import equal_mass, equal_width, fine_tails
from data_pipeline.tokenizers.scaling import ByVolatility, Raw, Rolling, Scaling, Signal
from data_pipeline.volatility import (
    WARMUP,
    Filtered,
    VolatilityState,
    advance,
    filter_returns,
    inputs_from,
    steady_state,
    volatility_of,
)

MIN_TRAINING_RETURNS = 200
MIN_BINS, MAX_BINS = 4, 4096


class Kind(NamedTuple):
    """A tokenizer before it is fitted."""

    scaling: Callable[[Signal], Scaling]
    cut: Callable[[Sketch, int], np.ndarray]  # cells of z below which the bins are cut
    multiple: int = 1  # that the number of bins must be of


KINDS: dict[str, Kind] = {
    "volatility": Kind(lambda signal: ByVolatility(), fine_tails, 16),
    "quantile": Kind(lambda signal: Raw(), equal_mass),
    "uniform": Kind(lambda signal: Raw(), equal_width),
    "rolling": Kind(lambda signal: Rolling(signal=signal), equal_mass),
}


def check_bins(kind: str, n_bins: int) -> None:
    """Raise BadInput unless `kind` can cut so many bins."""
    if not MIN_BINS <= n_bins <= MAX_BINS:
        raise BadInput(f"--vocab_size {n_bins} must be from {MIN_BINS} to {MAX_BINS}")
    multiple = KINDS[kind].multiple
    if n_bins % multiple:
        near = multiple * (n_bins // multiple + 1)
        raise BadInput(f"--vocab_size {n_bins}: the {kind} tokenizer needs a multiple of {multiple}; try {near}")


class Training(NamedTuple):
    """What is learned of training returns: sketches, which add up over assets in any order."""

    volatility: Sketch
    z: Sketch

    @classmethod
    def of(cls, returns: np.ndarray, scaling: Scaling) -> Training:
        """Of one asset's training returns from its first bar, the warm-up left out."""
        volatility = volatility_of(returns)
        z = scaling.z(returns, scaling.known_before(returns, volatility))
        return cls(Sketch.of(volatility[WARMUP:]), Sketch.of(z[WARMUP:]))

    @classmethod
    def merged(cls, parts: Iterable[Training]) -> Training:
        return cls(*(Sketch.merged(sketches) for sketches in zip(*parts, strict=True)))


@dataclass(frozen=True, eq=False)
class ReturnTokenizer:
    """A causal tokenizer of log returns."""

    kind: str
    scaling: Scaling
    bins: Bins  # of z
    typical_volatility: float  # median training volatility; log return per bar
    exact_likelihood: ClassVar[bool] = True

    @classmethod
    def fit(
        cls, kind: str, training_returns: Iterable[np.ndarray], n_bins: int = 128, signal: Signal = "log_return"
    ) -> Self:
        """Fit to the training dates of each asset, pooled; one array of log returns per asset, from its first bar.

        Raises BadInput for too few returns, prices that never move, and a number of bins that `kind` cannot cut.
        """
        scaling = KINDS[kind].scaling(signal)
        return cls.of(kind, Training.merged(Training.of(r, scaling) for r in training_returns), n_bins, signal)

    @classmethod
    def of(cls, kind: str, training: Training, n_bins: int = 128, signal: Signal = "log_return") -> Self:
        """Fit to statistics of the training returns; raises as `fit` does."""
        check_bins(kind, n_bins)
        if training.z.size < MIN_TRAINING_RETURNS:
            raise BadInput(
                f"{training.z.size} training returns are left after {WARMUP} of warm-up per asset, at least "
                f"{MIN_TRAINING_RETURNS} are needed; give a longer history or a later --train_end"
            )
        if len(training.z.keys) == 1:
            raise BadInput("the price never moves in the training dates; there is nothing to learn from it")
        bins = Bins.cut(training.z, KINDS[kind].cut(training.z, n_bins))
        return cls(kind, KINDS[kind].scaling(signal), bins, training.volatility.quantile(0.5))

    @property
    def vocab_size(self) -> int:
        return len(self.bins.values)

    @property
    def bin_values(self) -> np.ndarray:
        """Mean z of each bin in units of z's training standard deviation, shape (K,): what an ordinal model reads."""
        values, masses = self.bins.values, self.bins.masses
        mean = values @ masses
        return (values - mean) / np.sqrt((values - mean) ** 2 @ masses)

    def filter(self, returns: np.ndarray) -> Filtered:
        """Volatility, inputs and last state over one asset's log returns, shape (T,)."""
        filtered = filter_returns(returns, self.typical_volatility)
        return filtered._replace(state=self.scaling.start(returns, filtered.state))

    def calm_state(self) -> VolatilityState:
        """The state after a long calm at the typical volatility: where paths start that have no history."""
        alternating = self.typical_volatility * (-1.0) ** np.arange(WARMUP)
        return self.scaling.start(alternating, steady_state(self.typical_volatility))

    def known_before(self, returns: np.ndarray, volatility: np.ndarray | None = None) -> np.ndarray:
        """What the bins of each of one asset's returns depend on, (T,) or (T, 2); all of it known before the return."""
        return self.scaling.known_before(returns, volatility)

    def standardize(self, returns: np.ndarray, known: np.ndarray) -> np.ndarray:
        """z of log returns, given what was known before each; shapes broadcast."""
        return self.scaling.z(returns, known)

    def log_slope(self, returns: np.ndarray, known: np.ndarray) -> np.ndarray:
        """ln dz/dr at log returns, given what was known before each: a density of z times this slope is one of r."""
        return self.scaling.log_slope(returns, known)

    def encode(self, returns: np.ndarray, known: np.ndarray | None = None) -> np.ndarray:
        """Tokens of one asset's log returns, shape (T,); the token at t depends on returns up to t only."""
        known = self.known_before(returns) if known is None else known
        return self.bins.assign(self.standardize(returns, known))

    def decode(self, tokens: np.ndarray, known: np.ndarray) -> np.ndarray:
        """The representative log return of each token, given what was known before it."""
        return self.scaling.returns(self.bins.values[tokens], known)

    def return_edges(self, known: np.ndarray) -> np.ndarray:
        """Edges of the bins in log returns at each of T steps, shape (T, K−1)."""
        return self.scaling.returns(self.bins.edges, np.asarray(known)[:, None])

    def step(self, state: VolatilityState, z: Any) -> tuple[VolatilityState, Any, Any]:
        """Let a scaled return z happen: the state after it, the model inputs after it, its log return.

        Plain arithmetic on NumPy or JAX arrays, so that it runs inside a jitted loop.
        """
        log_return = self.scaling.returns(z, self.scaling.known_next(state))
        state = self.scaling.slide(advance(state, log_return), log_return)
        return state, inputs_from(state, self.typical_volatility), log_return

    def to_json(self) -> dict[str, Any]:
        scaling = asdict(self.scaling) if isinstance(self.scaling, Rolling) else {}
        return {
            "kind": self.kind,
            "scaling": scaling,
            "typical_volatility": self.typical_volatility,
            "bins": self.bins.to_json(),
        }

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Self:
        scaling = KINDS[fields["kind"]].scaling("log_return")
        if isinstance(scaling, Rolling):
            scaling = Rolling(**fields["scaling"])
        return cls(fields["kind"], scaling, Bins.from_json(fields["bins"]), float(fields["typical_volatility"]))
