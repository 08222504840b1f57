"""Score a model on the rows of a split, beside the laws it has to beat, on the same rows and the same bins.

Two sets of bins. The model's own tokens give the seed's metrics. The 64-bin partition (every second edge of the
volatility tokenizer fitted on the training dates) is common to all models and tokenizers: bits per return are counted
on it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from data_pipeline.dataset import Split, TokenDataset
from data_pipeline.errors import BadInput
from data_pipeline.tokenizers.base import ReturnTokenizer
from mqc_jax.evaluation.baselines import TokenLaw, token_histogram
from mqc_jax.evaluation.partition import N_BINS, Partition
from mqc_jax.evaluation.scores import NATS_PER_BIT, hac_standard_error, mean_by_date
from mqc_jax.model import GPT
from mqc_jax.training.validate import predictions


class _RowScores(NamedTuple):
    """Per scored row, in row order; nats are −ln p."""

    nats: np.ndarray  # over the model's tokens
    rank: np.ndarray  # how many tokens the model found likelier than the true one
    shared_nats: np.ndarray  # over the shared bins; empty without returns


def evaluate(model: GPT, dataset: TokenDataset, split: Split, *, seq_len: int | None = None) -> dict[str, Any]:
    """The report of one split; figures are means over its rows, logarithms natural unless named bits.

    Raises BadInput when the split has no rows.
    """
    rows = dataset.rows(split)
    if not len(rows):
        raise BadInput(f"{dataset.manifest['source']}: no rows in the {split} split; choose other dates or --split")
    tokenizer = dataset.tokenizer
    partition = None
    if dataset.market is not None and isinstance(tokenizer, ReturnTokenizer):
        partition = Partition(dataset, dataset.market, tokenizer)
    scores = _score_rows(model, dataset, split, seq_len or model.config.sequence_len, partition)
    nats = float(scores.nats.mean())
    report: dict[str, Any] = {
        "split": split,
        "n_targets": len(rows),
        "nats_per_token": nats,
        "perplexity": float(np.exp(nats)),
        "top1_accuracy": float((scores.rank < 1).mean()),
        "top5_accuracy": float((scores.rank < 5).mean()),
        "token_histogram_nats_per_token": float(-np.log(token_histogram(dataset))[dataset.tokens[rows]].mean()),
    }
    if partition is None:
        unigram, adaptive = _token_baselines(dataset, rows)
        return report | {
            "unigram_nats_per_token": float(unigram.mean()),
            "adaptive_unigram_nats_per_token": float(adaptive.mean()),
            "bits_gained_over_unigram": float((unigram - scores.nats).mean() / NATS_PER_BIT),
            "bits_gained_over_adaptive_unigram": float((adaptive - scores.nats).mean() / NATS_PER_BIT),
        }
    own, shared = partition.baseline_nats(rows)
    return report | {
        "unigram_nats_per_token": float(own[0].mean()),
        "adaptive_unigram_nats_per_token": float(own[1].mean()),
        **_bits_gained(dataset, partition.market.times, rows, scores.shared_nats, shared),
    }


def _bits_gained(
    dataset: TokenDataset, all_times: np.ndarray, rows: np.ndarray, model: np.ndarray, baselines: np.ndarray
) -> dict[str, Any]:
    """Differences on the shared bins: mean over assets per date, then over dates."""
    times = all_times[rows]
    unigram, adaptive = baselines
    gain = {"unigram": (unigram - model) / NATS_PER_BIT, "adaptive_unigram": (adaptive - model) / NATS_PER_BIT}
    report: dict[str, Any] = {}
    for name, bits in gain.items():
        by_date = mean_by_date(bits, times)
        report[f"bits_gained_over_{name}"] = float(by_date.mean())
        report[f"bits_gained_over_{name}_standard_error"] = hac_standard_error(by_date)
    nats = {"model": model, "unigram": unigram, "adaptive_unigram": adaptive}
    report["shared_bins"] = {"n_bins": N_BINS} | {
        f"{name}_nats_per_return": float(mean_by_date(values, times).mean()) for name, values in nats.items()
    }
    by_asset = {}
    for asset, segment in zip(dataset.assets, dataset.segments, strict=True):
        mine = (rows >= segment[0]) & (rows < segment[4])
        if mine.any():
            by_asset[asset] = {"n_targets": int(mine.sum())} | {
                f"bits_gained_over_{name}": float(bits[mine].mean()) for name, bits in gain.items()
            }
    return report | {"assets": by_asset}


def _score_rows(
    model: GPT, dataset: TokenDataset, split: Split, seq_len: int, partition: Partition | None
) -> _RowScores:
    found, nats, rank, shared = [], [], [], []
    for rows, log_probabilities_NV in predictions(model, dataset, split, seq_len):
        true_N1 = np.take_along_axis(log_probabilities_NV, dataset.tokens[rows][:, None].astype(np.int64), axis=1)
        found.append(rows)
        nats.append(-true_N1[:, 0].astype(np.float64))
        rank.append((log_probabilities_NV > true_N1).sum(axis=1))
        if partition is not None:
            shared.append(partition.model_nats(rows, np.exp(log_probabilities_NV.astype(np.float64))))
    order = np.argsort(np.concatenate(found))
    in_order = [np.concatenate(part)[order] if part else np.empty(0) for part in (nats, rank, shared)]
    return _RowScores(*in_order)


def _token_baselines(dataset: TokenDataset, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    unigram, adaptive = [], []
    for _, train, validation, _, end in dataset.segments:
        tokens = np.asarray(dataset.tokens[train:end])
        law = TokenLaw(tokens[: validation - train], dataset.tokenizer.vocab_size)
        mine = rows[(rows >= train) & (rows < end)] - train
        unigram.append(-np.log(law.masses[tokens[mine]]))
        adaptive.append(-np.log(law.adaptive_masses(tokens)[mine]))
    return np.concatenate(unigram), np.concatenate(adaptive)
