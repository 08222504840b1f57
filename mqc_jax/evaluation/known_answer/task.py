"""What every known-answer task is: a process over tokens, and the true law of each token given those before it.

Data come as independent histories of one length, simulated side by side; history c depends on (seed, c) and on nothing
else, so that more tokens of the same seed continue the data with further histories. Every history starts in a known
state or, where the state is hidden, a known law of it. All arrays are flat, history after history: row c · length + t
is the row of a dataset built from `series`, unless that has special tokens.

Axis letters: C histories  T time  N = C · T rows  K tokens.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, NamedTuple

import numpy as np

from data_pipeline.bars import ReturnSeries
from data_pipeline.errors import BadInput
from data_pipeline.sources.processes import Gjr, Iid
from data_pipeline.sources.synthetic import FIRST_BAR, FIRST_CLOSE
from data_pipeline.tokenizers import ReturnTokenizer
from data_pipeline.tokenizers.bins import Bins
from data_pipeline.tokenizers.cuts import fine_tail_levels
from data_pipeline.tokenizers.scaling import Raw
from mqc_jax.evaluation.known_answer.floors import MeanNats, batch_means, entropy

N_BINS = 64
REFERENCE_SEED, REFERENCE_HISTORIES, REFERENCE_LENGTH = 2**32 - 1, 256, 1000  # of the draws that cut the bins
BLOCK = 65_536  # rows that are held as probabilities at a time
MOST_BARS = 95_000  # daily times end soon after


class Simulated(NamedTuple):
    """Tokens of C histories, and what a model may and may not see beside them."""

    tokens: np.ndarray  # (N,) int64
    values: np.ndarray  # (N,) the log return that each token stands for
    length: int  # T
    clock: np.ndarray | None = None  # (N,) known in advance: place of each bar in its day
    volatility: np.ndarray | None = None  # (N,) hidden: the standard deviation each return was drawn with
    laws: tuple[Gjr, ...] | None = None  # (C,) hidden: the parameters of each history, where they differ

    @property
    def tokens_CT(self) -> np.ndarray:
        return self.tokens.reshape(-1, self.length)

    @property
    def values_CT(self) -> np.ndarray:
        return self.values.reshape(-1, self.length)


@dataclass(frozen=True)
class Task(ABC):
    """A process with a known answer. Histories have `length` tokens."""

    name: str
    length: int
    ordered: ClassVar[bool] = True  # whether near tokens mean near things

    def __post_init__(self) -> None:
        if not 2 <= self.length <= MOST_BARS:
            raise BadInput(f"{self.name}: length={self.length} must be from 2 to {MOST_BARS}")

    @property
    def day(self) -> int:
        """Bars in a day."""
        return 1

    @cached_property
    def bins(self) -> Bins:
        """The bins whose numbers are the tokens; they depend on the task, not on a seed."""
        returns_CT, _ = self._draw(REFERENCE_HISTORIES, REFERENCE_LENGTH, REFERENCE_SEED, None)
        return Bins.fit(returns_CT.ravel(), fine_tail_levels(N_BINS))

    @abstractmethod
    def _draw(
        self, n_histories: int, length: int, seed: int, bins: Bins | None
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Returns, and the volatility each was drawn with if it is hidden, (C, T) both.

        A process that reads its tokens reads the values of `bins`, or the returns themselves without bins.
        """

    def simulate(self, n_tokens: int, seed: int) -> Simulated:
        """Draw n_tokens tokens. Raises BadInput unless that is a multiple of `length`."""
        n_histories = self._n_histories(n_tokens)
        returns_CT, volatility_CT = self._draw(n_histories, self.length, seed, self.bins)
        tokens = self.bins.assign(returns_CT.ravel()).astype(np.int64)
        clock = np.tile(np.arange(self.length) % self.day, n_histories) if self.day > 1 else None
        volatility = None if volatility_CT is None else volatility_CT.ravel()
        return Simulated(tokens, self.bins.values[tokens], self.length, clock, volatility)

    @abstractmethod
    def conditional(self, simulated: Simulated, rows: slice = slice(None)) -> np.ndarray:
        """The law of each token given the tokens (and clock) before it in its history, (N, K), or some rows of it."""

    def floor(self, simulated: Simulated) -> MeanNats:
        """What the best possible model would lose on average: the mean entropy of the true law over these histories."""
        starts = range(0, len(simulated.tokens), BLOCK)
        return batch_means(np.concatenate([entropy(self.conditional(simulated, slice(s, s + BLOCK))) for s in starts]))

    @property
    def tokenizer(self) -> ReturnTokenizer:
        """The fixed tokenizer that turns `series` into exactly the process's own tokens."""
        bins = self.bins
        return ReturnTokenizer("quantile", Raw(), bins, float(np.sqrt(bins.masses @ bins.values**2)))

    def series(self, simulated: Simulated) -> list[ReturnSeries]:
        """The histories as returns of assets, one bar a day, or `day` of them: what `build_dataset` takes.

        A return is the value its token stands for, even where the process has a finer one: volatility made of that
        would tell a model more than the tokens do, and the floor would no longer be one.
        """
        step = np.timedelta64(24 * 60 * 60 // self.day, "s")
        times = (FIRST_BAR + np.arange(1, self.length + 1) * step).astype("datetime64[ns]")
        closes_CT = FIRST_CLOSE * np.exp(np.cumsum(simulated.values_CT, axis=1))
        clock = None
        if self.day > 1:
            opens_ahead = np.arange(1, self.length + 1) % self.day == 0
            clock = np.stack([0 * opens_ahead, 0 * opens_ahead, opens_ahead], axis=1).astype(np.float32)
        return [
            ReturnSeries(f"{self.name}-{c:05d}", times, closes, values, clock=clock)
            for c, (values, closes) in enumerate(zip(simulated.values_CT, closes_CT, strict=True))
        ]

    def _n_histories(self, n_tokens: int) -> int:
        if n_tokens < self.length or n_tokens % self.length:
            more = self.length * (n_tokens // self.length + 1)
            raise BadInput(f"{self.name}: {n_tokens} tokens are no multiple of length={self.length}; try {more}")
        return n_tokens // self.length


def generators(seed: int, n_histories: int) -> list[np.random.Generator]:
    """A random stream for each history."""
    return [np.random.default_rng([seed, c]) for c in range(n_histories)]


def innovations(nu_C: list[float], length: int, seed: int) -> np.ndarray:
    """Student t draws of variance one, (C, T)."""
    streams = generators(seed, len(nu_C))
    return np.stack([Iid(1.0, nu).simulate(length, rng) for nu, rng in zip(nu_C, streams, strict=True)])
