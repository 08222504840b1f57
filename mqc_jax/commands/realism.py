"""`evaluate --n_paths`: the model's own paths of the scored dates, drawn from what was known before them."""

from __future__ import annotations

from typing import Any

import numpy as np
from rich.console import Console

from data_pipeline import BadInput, TokenDataset
from data_pipeline.dataset import Split
from data_pipeline.rows import CLOCK_NAMES
from data_pipeline.tokenizers import ReturnTokenizer
from mqc_jax.forecasting.possible import check_paths
from mqc_jax.run import Run

MOST_BARS = 5_000  # of a path


def draw_and_compare(run: Run, path: str, dataset: TokenDataset, split: Split, n_paths: int, console: Console) -> Any:
    """By asset, what `realism` finds; assets without enough history before the scored dates are left out.

    Raises BadInput for a run no paths can be drawn from.
    """
    import jax

    from mqc_jax.evaluation.realism import realism, terminal_table
    from mqc_jax.forecasting import History, simulate

    if dataset.market is None or not isinstance(run.tokenizer, ReturnTokenizer):
        raise BadInput(f"--n_paths {n_paths}: {path} knows no returns, so no paths of them; leave it out")
    check_paths(path, dataset.manifest)
    scored, found = dataset.rows(split), {}
    for number, asset in enumerate(dataset.assets):
        rows = dataset.history_rows(number)
        mine = np.flatnonzero(np.isin(rows, scored))[:MOST_BARS]
        if not len(mine) or len(mine) != mine[-1] - mine[0] + 1:
            console.print(f"{asset}: no paths, its scored dates are interrupted" if len(mine) else f"{asset}: no dates")
            continue
        history = History.of_rows(dataset, number, int(rows[mine[0] - 1]), run.config.model.sequence_len)
        has_clock = CLOCK_NAMES[0] in dataset.manifest["inputs"]
        clock = np.asarray(dataset.market.inputs[rows[mine]])[:, -len(CLOCK_NAMES) :] if has_clock else None
        key = jax.random.fold_in(jax.random.key(run.config.train.seed), number)
        with console.status(f"{n_paths} paths of {len(mine):,} bars of {asset}"):
            about: dict[str, Any] = {"steps": len(mine), "n_paths": n_paths, "clocks": [clock]}
            (paths,) = simulate(run.model, run.tokenizer, [history], [key], **about)
            returns = np.asarray(dataset.market.returns[rows])
            found[asset] = realism(returns[mine], returns[: mine[0]], paths)
        console.print(terminal_table(asset, found[asset]))
    return found
