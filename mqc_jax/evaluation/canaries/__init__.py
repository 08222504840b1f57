"""Canaries: experiments that an honest score survives, and one that has seen the future does not.

With every evaluation, in this order:

splits         every row is trained on or scored in the split of its date, and no training window reaches further
tokenizer      fitted again to the training dates alone, it is the same
history        other returns from one bar on leave all that was known before that bar as it was
predictions    so do other tokens and inputs: nothing that was predicted before changes in a single bit
gain, top1_accuracy, direction    alarms: nobody has honestly been so good

In tests, because they train: `shuffled_canary`, and `floor_canary` on a known answer.
"""

from __future__ import annotations

from data_pipeline.dataset import Split, TokenDataset
from mqc_jax.evaluation.canaries.alarms import Figures, alarms
from mqc_jax.evaluation.canaries.canary import Canary, as_json, refuse_leaks, skipped, summary
from mqc_jax.evaluation.canaries.data import history_canary, splits_canary, tokenizer_canary
from mqc_jax.evaluation.canaries.predictions import Predict, predictions_canary, predictor
from mqc_jax.evaluation.canaries.trained import floor_canary, shuffled_canary


def run_canaries(
    predict: Predict,
    dataset: TokenDataset,
    split: Split,
    context: int,
    *,
    figures: Figures | None = None,
    own_tokenizer: bool = True,
) -> list[Canary]:
    """Make every experiment that needs no training.

    Args:
      predict: the model that is scored: `predictor(gpt, length)` or `partial(pooled_probabilities, members)`.
      dataset: what it is scored on.
      split: the part of it that is scored, with a row at least.
      context: length of the windows it is scored in.
      figures: its scores; without them there are no alarms.
      own_tokenizer: whether the tokenizer was fitted to this dataset.
    """
    found = data_canaries(dataset, context, own_tokenizer=own_tokenizer)
    found.append(predictions_canary(predict, dataset, split, context))
    return found + ([] if figures is None else alarms(figures, dataset))


def data_canaries(dataset: TokenDataset, context: int, *, own_tokenizer: bool = True) -> list[Canary]:
    """The experiments that need no model."""
    return [
        splits_canary(dataset, context),
        tokenizer_canary(dataset) if own_tokenizer else skipped("tokenizer", "it was fitted to other data or dates"),
        history_canary(dataset),
    ]


__all__ = [
    "Canary",
    "Figures",
    "alarms",
    "as_json",
    "data_canaries",
    "floor_canary",
    "history_canary",
    "predictions_canary",
    "predictor",
    "refuse_leaks",
    "run_canaries",
    "shuffled_canary",
    "skipped",
    "splits_canary",
    "summary",
    "tokenizer_canary",
]
