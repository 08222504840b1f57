"""One dial for the size of a model: its depth."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import replace

from data_pipeline.config import require
from mqc_jax.config import Config, ModelConfig

DEEPEST = 1000
SIZE = ("n_layer", "n_embd", "n_head", "n_kv_head")  # what the dial sets in the network


def at_depth(config: Config, depth: int) -> Config:
    """The preset `config` with `depth` layers, and all that should follow from it; at its own depth, the preset itself.

    - width: the preset's aspect ratio, n_embd / n_layer, is kept, so parameters grow about as depth³. One dial in place
      of three is nanochat's (`--depth`); over shapes that are not extreme the loss hardly depends on the ratio
      (Kaplan et al. 2020, Scaling laws for neural language models, section 3.1).
    - heads: the preset's head width is kept and the width rounded to a whole number of heads; n_kv_head is the divisor
      of n_head that is nearest to the preset's share.
    - learning rate: proportional to 1 / sqrt(width), nanochat's rule for AdamW: the wider the sums, the smaller the
      change of each weight has to be.
    - tokens per step: the preset's, so context and batch size stay; the critical batch size depends on the loss that is
      reached, not on the model's size (Kaplan et al. 2020, section 5.1).
    - epochs, weight decay, dropout and the rest: the preset's.

    Raises ValueError for a depth that is not from 1 to 1000.
    """
    require(1 <= depth <= DEEPEST, f"depth={depth} must be from 1 to {DEEPEST}")
    old, train = config.model, config.train
    n_head = max(1, round(old.n_embd / old.n_layer * depth / old.head_dim))
    share = old.n_kv_head / old.n_head
    n_kv_head = min((d for d in range(1, n_head + 1) if n_head % d == 0), key=lambda d: abs(d - share * n_head))
    width = n_head * old.head_dim
    model = replace(old, n_layer=depth, n_embd=width, n_head=n_head, n_kv_head=n_kv_head)
    learning_rate = train.learning_rate * (old.n_embd / width) ** 0.5
    return replace(config, model=model, train=replace(train, learning_rate=learning_rate))


def overfit_warning(
    config: Config, preset: Config, n_tokens: int, count_parameters: Callable[[ModelConfig], int]
) -> str | None:
    """One line where the network is large for its training tokens, naming a depth of `preset` that is not."""
    n_parameters, most = count_parameters(config.model), config.train.param_data_ratio * n_tokens
    if n_parameters <= most:
        return None

    def parameters_at(depth: int) -> int:
        smaller = at_depth(preset, depth).model
        return count_parameters(replace(config.model, **{name: getattr(smaller, name) for name in SIZE}))

    depth = bisect_right(range(1, min(config.model.n_layer, DEEPEST) + 1), most, key=parameters_at)
    return (
        f"{n_parameters:,} parameters for {n_tokens:,} training tokens ({n_parameters / n_tokens:.4g} a token, "
        f"--param_data_ratio {config.train.param_data_ratio:g}): it will overfit; "
        + (f"try --depth {depth}" if depth else "no --depth of it is small enough: try --config daily, or more data")
    )
