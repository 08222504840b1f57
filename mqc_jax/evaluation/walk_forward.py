"""Walk forward through the years: every model is refitted each New Year and scored on the year that begins.

What is learned is learned anew in every refit: bins, weights, and for the neural models the tokens themselves. Nothing
about a scored year is known to its refit but its dates. Each refit's probabilities are kept on disk under the hash of
everything they depend on, so that an interrupted walk goes on where it was.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np

from data_pipeline import build_dataset
from data_pipeline.dataset import TokenDataset
from data_pipeline.errors import BadInput
from data_pipeline.storage import replacing
from data_pipeline.tokenizers import ReturnTokenizer
from mqc_jax.config import Config
from mqc_jax.evaluation.cache import code_hash, content_hash
from mqc_jax.evaluation.classics import Refit
from mqc_jax.evaluation.combined import concatenate
from mqc_jax.evaluation.linear import fit_linear
from mqc_jax.evaluation.lineup import Say, token_law
from mqc_jax.laws.law import Law
from mqc_jax.training.batches import steps_per_epoch
from mqc_jax.training.ensemble import Ensemble, pooled_probabilities
from mqc_jax.training.start import open_bases

DAY, YEAR = np.timedelta64(1, "D"), np.timedelta64(365, "D")
YEARS_TO_CHOOSE = 3
EPOCHS_APART = 4  # that are compared
REFITS_DEPEND_ON = (
    ("mqc_jax/model", "mqc_jax/training", "mqc_jax/run.py", "mqc_jax/evaluation/walk_forward.py"),
    ("flax", "jax", "jaxlib", "numpy", "optax"),
)


def recut(dataset: TokenDataset, config: Config, refit: Refit) -> TokenDataset:
    """The same returns, with bins and tokens of the dates before `refit.train_end`; the scored ones are `validation`.

    Raises BadInput for datasets whose rows are not one per return.
    """
    if dataset.n_special:
        raise BadInput(
            f"{dataset.manifest['source']}: special tokens cannot be refitted yet; score the run without "
            "--walk_forward, or train one without them"
        )
    last_days = [str((instant - DAY).astype("datetime64[D]")) for instant in (refit.train_end, refit.last)]
    data = replace(config.data, train_end=last_days[0], validation_end=last_days[1], timeframes=None)
    series = [dataset.series(number) for number in range(len(dataset.assets))]
    past = [one.log_returns[one.times < refit.train_end] for one in series]
    if not any(map(len, past)):
        raise BadInput(
            f"{dataset.manifest['source']}: no returns before {last_days[0]} to fit to; walk through later years"
        )
    tokenizer = ReturnTokenizer.fit(data.tokenizer, [r for r in past if len(r)], config.model.vocab_size, data.signal)
    return build_dataset(series, data, tokenizer=tokenizer)


def neural_laws(
    dataset: TokenDataset,
    config: Config,
    rows: np.ndarray,
    refits: Sequence[Refit],
    *,
    seeds: Sequence[int],
    cache: Path,
    say: Say,
) -> tuple[dict[str, Law], list[int]]:
    """The laws at `rows` of the pooled GPTs of these seeds and of the linear map of their inputs; epochs of each refit.

    Each refit is trained to the number of epochs that was best in the years before it: those scored so far, and the
    YEARS_TO_CHOOSE before the first of them, or the last 30 % of a shorter history.
    """
    laws: dict[str, list[Law]] = {"gpt": [], "linear": []}
    scored, chosen = [], []
    nats = _before(dataset, config, refits[0], seeds, cache, say)
    for refit in refits:
        best = min(nats, key=lambda epoch: nats[epoch])
        say(f"gpt, {refit.first.astype('datetime64[Y]')}: {best} epochs were best before")
        cut = recut(dataset, config, refit)
        mine = np.intersect1d(rows, cut.rows("validation"))
        by_epoch = _pooled_by_epoch(cut, config, mine, seeds, cache)
        laws["gpt"].append(token_law(cut, mine, by_epoch[best]))
        laws["linear"].append(token_law(cut, mine, np.exp(fit_linear(cut).log_probabilities(cut, mine))))
        scored.append(mine)
        chosen.append(best)
        nats = {epoch: lost + _nats(cut, mine, by_epoch[epoch]) for epoch, lost in nats.items()}
    order = np.argsort(np.concatenate(scored))
    return {name: concatenate(parts).take(order) for name, parts in laws.items()}, chosen


def _before(
    dataset: TokenDataset, config: Config, first: Refit, seeds: Sequence[int], cache: Path, say: Say
) -> dict[int, float]:
    """Nats lost in the years before `first`, by number of epochs trained on those before them."""
    begin = min(one.times[0] for one in map(dataset.series, range(len(dataset.assets))) if len(one))
    before = max(first.first - YEARS_TO_CHOOSE * YEAR, begin + (first.first - begin) * 7 // 10)
    say(f"how many epochs, on {before.astype('datetime64[D]')} to {first.first.astype('datetime64[D]')}")
    cut = recut(dataset, config, Refit(before, before, first.first))
    rows = cut.rows("validation")
    return {epoch: _nats(cut, rows, p) for epoch, p in _pooled_by_epoch(cut, config, rows, seeds, cache).items()}


def _nats(cut: TokenDataset, rows: np.ndarray, masses_NV: np.ndarray) -> float:
    return float(-np.log(masses_NV[np.arange(len(rows)), cut.tokens[rows]]).sum())


def _steps_per_epoch(config: Config, dataset: TokenDataset) -> int:
    return steps_per_epoch(dataset, config.model.sequence_len, config.train.batch_size)


def _key(cut: TokenDataset, config: Config, seeds: Sequence[int]) -> str:
    weights = [np.asarray(leaf) for base in open_bases(config, cut) for leaf in jax.tree.leaves(base.model)]
    about: dict[str, Any] = {"config": config.to_json(), "seeds": list(seeds)}
    arrays = {name: entry["sha256"] for name, entry in cut.manifest["arrays"].items()}
    described = json.dumps([about, arrays, cut.manifest["tokenizer"]], sort_keys=True)
    return content_hash(code_hash(*REFITS_DEPEND_ON), described, *weights)


def _pooled_by_epoch(
    cut: TokenDataset, config: Config, rows: np.ndarray, seeds: Sequence[int], cache: Path
) -> dict[int, np.ndarray]:
    """The members' pooled probabilities at `rows`, by number of epochs, from the cache or from training."""
    file = cache / f"{_key(cut, config, seeds)}-{content_hash(rows)}.npz"
    if not file.is_file():
        ensemble, per_epoch, found = Ensemble(config, cut, seeds), _steps_per_epoch(config, cut), {}
        for epoch in range(1, config.train.num_epochs + 1):
            ensemble.advance(per_epoch)
            if epoch % EPOCHS_APART == 0 or epoch == config.train.num_epochs:
                seen, masses_NV = pooled_probabilities(ensemble.members, cut, "validation")
                found[str(epoch)] = masses_NV[np.searchsorted(seen, rows)].astype(np.float32)
        cache.mkdir(parents=True, exist_ok=True)
        with replacing(file) as stream:
            np.savez(stream, **found)
    with np.load(file, allow_pickle=False) as stored:
        return {int(epoch): stored[epoch].astype(np.float64) for epoch in stored.files}
