"""Score a model on the rows of a split, beside the laws it has to beat, on the same rows and the same bins.

Two sets of bins. The model's own tokens give the seed's metrics. The 64-bin partition (a volatility tokenizer's,
fitted on the training dates) is common to all models and tokenizers: bits per return are counted
on it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from data_pipeline.dataset import Split, TokenDataset
from data_pipeline.errors import BadInput
from data_pipeline.tokenizers import ReturnTokenizer
from mqc_jax.evaluation.baselines import token_baselines, token_histogram
from mqc_jax.evaluation.partition import N_BINS, Partition
from mqc_jax.evaluation.scores import NATS_PER_BIT, hac_standard_error, mean_by_date
from mqc_jax.model import GPT
from mqc_jax.training.validate import predictions


class _RowScores(NamedTuple):
    """Per scored row, in row order; nats are −ln p."""

    nats: np.ndarray  # over the model's tokens
    rank: np.ndarray  # how many tokens come before the true one, by probability, then by id
    shared_nats: np.ndarray  # over the shared bins; empty without returns


def evaluate(model: GPT, dataset: TokenDataset, split: Split, *, seq_len: int | None = None) -> dict[str, Any]:
    """The report of one split; figures are means over its rows, logarithms natural unless named bits.

    Raises BadInput when the split has no rows.
    """
    rows = dataset.rows(split)
    if not len(rows):
        cut = ", ".join(f"{name} {value}" for name, value in dataset.manifest["splits"].items())
        raise BadInput(
            f"{dataset.manifest['source']}: no rows in the {split} split ({cut}); choose other dates or --split"
        )
    partition = None
    if dataset.market is not None and isinstance(dataset.tokenizer, ReturnTokenizer):
        partition = Partition(dataset, dataset.market, dataset.tokenizer)
    scores = _score_rows(model, dataset, split, seq_len or model.config.sequence_len, partition)
    nats = float(scores.nats.mean())
    report = {
        "split": split,
        "n_targets": len(rows),
        "nats_per_token": nats,
        "perplexity": float(np.exp(nats)),
        "top1_accuracy": float((scores.rank < 1).mean()),
        "top5_accuracy": float((scores.rank < 5).mean()),
    }
    histogram = token_histogram(dataset)
    own = {"token_histogram": -np.log(histogram)[dataset.tokens[rows]]}
    if partition is None:
        own |= token_baselines(dataset, rows)
        gained = {
            f"bits_gained_over_{name}": float((law - scores.nats).mean() / NATS_PER_BIT) for name, law in own.items()
        }
    else:
        raw_own, raw_shared = partition.baseline_nats(rows)
        own |= raw_own
        shared = {"token_histogram": partition.model_nats(rows, np.tile(histogram, (len(rows), 1))), **raw_shared}
        gained = _on_shared_bins(dataset, partition.market.times[rows], rows, scores.shared_nats, shared)
    return report | {f"{name}_nats_per_token": float(law.mean()) for name, law in own.items()} | gained


def _rank(log_probabilities_NV: np.ndarray, true_N1: np.ndarray, tokens_N: np.ndarray) -> np.ndarray:
    earlier_NV = np.arange(log_probabilities_NV.shape[1]) < tokens_N[:, None]
    return ((log_probabilities_NV > true_N1) | ((log_probabilities_NV == true_N1) & earlier_NV)).sum(axis=1)


def _on_shared_bins(
    dataset: TokenDataset, times: np.ndarray, rows: np.ndarray, model: np.ndarray, laws: dict[str, np.ndarray]
) -> dict[str, Any]:
    """Bits gained over each law on the shared bins: mean over assets per date, then over dates."""
    report: dict[str, Any] = {}
    gain = {name: (nats - model) / NATS_PER_BIT for name, nats in laws.items()}
    for name, bits in gain.items():
        by_date = mean_by_date(bits, times)
        report[f"bits_gained_over_{name}"] = float(by_date.mean())
        report[f"bits_gained_over_{name}_standard_error"] = hac_standard_error(by_date)
    report["shared_bins"] = {"n_bins": N_BINS} | {
        f"{name}_nats_per_return": float(mean_by_date(nats, times).mean())
        for name, nats in {"model": model, **laws}.items()
    }
    report["assets"] = {}
    owner = dataset.assets_of(rows)
    for number, asset in enumerate(dataset.assets):
        mine = owner == number
        if mine.any():
            report["assets"][asset] = {"n_targets": int(mine.sum())} | {
                f"bits_gained_over_{name}": float(bits[mine].mean()) for name, bits in gain.items()
            }
    return report


def _score_rows(
    model: GPT, dataset: TokenDataset, split: Split, seq_len: int, partition: Partition | None
) -> _RowScores:
    found, nats, rank, shared = [], [], [], []
    for rows, log_probabilities_NV in predictions(model, dataset, split, seq_len):
        tokens_N = dataset.tokens[rows].astype(np.int64)
        true_N1 = np.take_along_axis(log_probabilities_NV, tokens_N[:, None], axis=1)
        found.append(rows)
        nats.append(-true_N1[:, 0].astype(np.float64))
        rank.append(_rank(log_probabilities_NV, true_N1, tokens_N))
        if partition is not None:
            shared.append(partition.model_nats(rows, np.exp(log_probabilities_NV.astype(np.float64))))
    order = np.argsort(np.concatenate(found))
    in_order = [np.concatenate(part)[order] if part else np.empty(0) for part in (nats, rank, shared)]
    return _RowScores(*in_order)
