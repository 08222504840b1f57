"""A model and its rivals on the same rows: from a dataset to scores and scoreboard."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from data_pipeline.dataset import Split, TokenDataset
from data_pipeline.errors import BadInput
from mqc_jax.config import Config
from mqc_jax.evaluation.board import Outcomes, Scores, score, scoreboard
from mqc_jax.evaluation.canaries import Canary, data_canaries, predictor, refuse_leaks
from mqc_jax.evaluation.classics import annual_refits
from mqc_jax.evaluation.linear import fit_linear
from mqc_jax.evaluation.lineup import (
    Say,
    classic_laws,
    outcomes_of,
    require_returns,
    same_rows,
    scorable,
    token_law,
)
from mqc_jax.evaluation.partition import Partition
from mqc_jax.evaluation.walk_forward import neural_laws, recut
from mqc_jax.laws.law import Law
from mqc_jax.model import GPT

MODELS = (
    *("gpt", "linear", "vol_regression", "vol_regression_range", "gjr_skew_t", "garch_t", "egarch_t", "ewma_t"),
    *("adaptive_unigram", "unconditional", "markov", "historical_250", "pool"),
)
MOST_ROWS = 100_000  # that are scored: a table of them takes 320 MB


class Contest(NamedTuple):
    """Who said what, and how it came out."""

    board: dict[str, dict[str, Any]]  # figures by model
    scores: dict[str, Scores]
    outcomes: Outcomes
    n_epochs: Sequence[int] = ()  # of each refit, in a walk-forward
    canaries: Sequence[Canary] = ()  # of its first refit's data


class Entrant(NamedTuple):
    """A trained model, and the returns as its own tokens."""

    model: GPT
    dataset: TokenDataset
    seq_len: int

    def law(self, split: Split, rows: np.ndarray) -> Law:
        """At `rows` of its dataset, which are of `split`."""
        found, log_masses = predictor(self.model, self.seq_len)(self.dataset, split)
        order = np.argsort(found)
        place = order[np.searchsorted(found[order], rows)]
        return token_law(self.dataset, rows, np.exp(log_masses[place].astype(np.float64)))


def frozen_contest(
    entrant: Entrant,
    split: Split,
    *,
    cache: Path,
    say: Say,
    note: Say,
    beside: Mapping[str, Entrant] | None = None,
) -> Contest:
    """The model as it is, and the linear map of its training dates; the classics are refitted every New Year.

    `say` is told what is being done, `note` what the reader should know. `beside` are other models by name, which
    score the same returns. Raises BadInput for those that know others.
    """
    dataset, beside = entrant.dataset, beside or {}
    require_returns(dataset)
    times = _times(dataset, dataset.rows(split))
    refits = annual_refits(*(int(str(end.astype("datetime64[Y]"))) for end in (times.min(), times.max())))
    rows = scorable(dataset, dataset.rows(split), refits, MOST_ROWS, note)
    laws: dict[str, Law] = {
        "gpt": entrant.law(split, rows),
        **{name: other.law(split, same_rows(other.dataset, dataset, rows, name)) for name, other in beside.items()},
        "linear": token_law(dataset, rows, np.exp(fit_linear(dataset).log_probabilities(dataset, rows))),
        **classic_laws(dataset, rows, refits, cache / "fits", say),
    }
    return _contest(laws, outcomes_of(dataset, rows, _partition(dataset)))


def walking_contest(
    config: Config,
    dataset: TokenDataset,
    years: tuple[int, int],
    *,
    seeds: Sequence[int],
    cache: Path,
    say: Say,
    since: str | None = None,
) -> Contest:
    """Everything refitted every New Year; the bins all are scored on are cut before the first.

    With `since`, a date, the same walk is scored from then on only.
    """
    require_returns(dataset)
    refits = annual_refits(*years)
    first = recut(dataset, config, refits[0])
    canaries = data_canaries(first, config.model.sequence_len)
    refuse_leaks(canaries)
    every = np.sort(np.concatenate([first.rows("validation"), first.rows("test")]))
    every = every[_times(dataset, every) < refits[-1].last]
    if not len(every):
        raise BadInput(f"--walk_forward {years[0]}:{years[1]}: no returns in these years; choose others")
    rows = scorable(dataset, every, refits, MOST_ROWS, say)
    times = _times(dataset, rows)
    refits = [refit for refit in refits if ((times >= refit.first) & (times < refit.last)).any()]
    laws, n_epochs = neural_laws(dataset, config, rows, refits, seeds=seeds, cache=cache / "refits", say=say)
    laws |= classic_laws(dataset, rows, refits, cache / "fits", say)
    if since is not None:
        kept = np.flatnonzero(times >= np.datetime64(since))
        if not len(kept):
            raise BadInput(f"--since {since}: no returns of these years are left to score; choose an earlier date")
        rows, laws = rows[kept], {name: law.take(kept) for name, law in laws.items()}
    found = _contest(laws, outcomes_of(dataset, rows, _partition(first)))
    return found._replace(n_epochs=n_epochs, canaries=canaries)


def _contest(laws: dict[str, Law], outcomes: Outcomes) -> Contest:
    others = [name for name in laws if name not in MODELS]
    scores = {name: score(laws[name], outcomes) for name in (*MODELS, *others) if name in laws}
    return Contest(scoreboard(scores, outcomes), scores, outcomes)


def _partition(dataset: TokenDataset) -> Partition:
    from data_pipeline.tokenizers import ReturnTokenizer

    assert dataset.market is not None and isinstance(dataset.tokenizer, ReturnTokenizer)
    return Partition(dataset, dataset.market, dataset.tokenizer)


def _times(dataset: TokenDataset, rows: np.ndarray) -> np.ndarray:
    assert dataset.market is not None
    return np.asarray(dataset.market.times[rows])
