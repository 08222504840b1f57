"""Train a model on a process whose law is known, and measure what it loses to that law."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from data_pipeline import build_dataset
from data_pipeline.config import DataConfig
from mqc_jax.config import Config
from mqc_jax.evaluation.known_answer.floors import batch_means, below_floor, divergence, entropy, log_loss, recovery
from mqc_jax.evaluation.known_answer.task import Task
from mqc_jax.training.batches import steps_per_epoch
from mqc_jax.training.ensemble import Ensemble, pooled_probabilities

TRAINING_SHARE = 0.7  # of each history, in time; half of the rest validates, the other half is scored
SMALL = 100_000  # training tokens: data of fewer wants the preset's restraint, of more does without
MOST_STEPS = 3_000
COMPARED = 10  # times in training that the validation loss is taken; the best counts


class Answer(NamedTuple):
    """What came out, over the scored rows; nats per token."""

    n_training_tokens: int
    n_scored: int
    steps: int
    floor: float  # mean entropy of the true law
    unigram: float  # mean loss of the training histogram, expected under the true law
    excess: float  # mean divergence of the model from the true law
    excess_standard_error: float
    recovery: float  # share of what can be gained over the unigram that was gained
    below_floor: bool  # alarm: a lower loss than the truth's, by more than chance


def examine(task: Task, config: Config, n_tokens: int, *, seeds: Sequence[int], seed: int) -> Answer:
    """Train the pooled `seeds` of `config` on about `n_tokens` tokens of `task`, and compare with the true law."""
    n_histories = max(1, round(n_tokens / TRAINING_SHARE / task.length))
    simulated = task.simulate(n_histories * task.length, seed)
    config = exam_config(config, task, n_tokens)
    dataset = build_dataset(task.series(simulated), config.data, tokenizer=task.tokenizer)
    ensemble = Ensemble(config, dataset, seeds)
    total = config.train.num_epochs * steps_per_epoch(dataset, config.model.sequence_len, config.train.batch_size)
    best, masses_NK, steps = np.inf, np.empty(0), 0
    rows = dataset.rows("test")
    while ensemble.done < total:
        ensemble.advance(min(-(-total // COMPARED), total - ensemble.done))
        seen, validation_NK = pooled_probabilities(ensemble.members, dataset, "validation")
        loss = log_loss(validation_NK, dataset.tokens[seen]).mean()
        if loss < best:
            best, steps = loss, ensemble.done
            masses_NK = pooled_probabilities(ensemble.members, dataset, "test")[1]
    true_NK = task.conditional(simulated)[rows]
    lost_N = divergence(true_NK, np.log(masses_NK))
    training = dataset.training_rows()
    histogram_K = np.bincount(dataset.tokens[training], minlength=dataset.tokenizer.vocab_size) + 0.5
    floor = float(entropy(true_NK).mean())
    unigram = float(-(true_NK @ np.log(histogram_K / histogram_K.sum())).mean())
    excess = batch_means(lost_N)
    return Answer(
        len(training),
        len(rows),
        steps,
        floor,
        unigram,
        excess.nats,
        excess.standard_error,
        recovery(floor + excess.nats, unigram, floor),
        below_floor(log_loss(masses_NK, dataset.tokens[rows]), log_loss(true_NK, dataset.tokens[rows])),
    )


def exam_config(config: Config, task: Task, n_tokens: int) -> Config:
    """`config` for the tokens of `task`: its own bins, as names where they have no order.

    For much data no dropout, little decay, at most MOST_STEPS.
    """
    ordinal = config.model.ordinal and task.ordered
    model = replace(config.model, vocab_size=len(task.bins.values), n_special=0, ordinal=ordinal)
    train = config.train
    if n_tokens >= SMALL:
        model, train = replace(model, dropout=0.0), replace(train, weight_decay=0.1)
    windows = 2 * n_tokens / model.sequence_len
    epochs = min(train.num_epochs, max(1, round(MOST_STEPS * train.batch_size / windows)))
    data = DataConfig(f"known-answer:{task.name}", tokenizer="quantile", clock=task.day > 1)
    return Config(model, data, replace(train, num_epochs=epochs))
