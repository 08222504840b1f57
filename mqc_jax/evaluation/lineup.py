"""Who stands on the scoreboard, and on which rows: laws of the same returns by every model.

Axis letters: N rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from data_pipeline.dataset import TokenDataset
from data_pipeline.errors import BadInput
from data_pipeline.storage import read_json, write_json
from data_pipeline.tokenizers import ReturnTokenizer
from mqc_jax.evaluation.board import Outcomes
from mqc_jax.evaluation.cache import code_hash, content_hash
from mqc_jax.evaluation.classics import BASELINES, Asset, Classic, Refit, scored_rows
from mqc_jax.evaluation.classics.season import in_season
from mqc_jax.evaluation.combined import concatenate
from mqc_jax.evaluation.partition import Partition
from mqc_jax.laws.law import Law
from mqc_jax.laws.token_law import TokenLaw

SAME_RETURN = 1e-9
Say = Callable[[str], None]
FITS_DEPEND_ON = (
    (
        "data_pipeline/tokenizers",
        "data_pipeline/volatility.py",
        "mqc_jax/evaluation/baselines.py",
        "mqc_jax/evaluation/classics",
        "mqc_jax/evaluation/combined.py",
        "mqc_jax/laws/law.py",
    ),
    ("arch", "numpy", "scipy"),
)


def require_returns(dataset: TokenDataset) -> None:
    """Raise BadInput for tokens that have no likelihood of returns."""
    if dataset.market is None or not isinstance(dataset.tokenizer, ReturnTokenizer):
        raise BadInput(
            f"{dataset.manifest['source']}: {dataset.tokenizer.kind} tokens have no likelihood of returns, so there "
            "is nothing to compare; train on prices with another --tokenizer"
        )
    if dataset.interleaved:
        raise BadInput(
            f"{dataset.manifest['source']}: with --layout interleaved an asset's law knows what others did on the same "
            "date, so it cannot stand beside forecasts; train with --layout by_asset"
        )


def histories(dataset: TokenDataset) -> list[Asset]:
    """The returns of every asset from its first bar."""
    market = dataset.market
    assert market is not None
    rows = [dataset.history_rows(number) for number in range(len(dataset.assets))]
    return [
        Asset.of(
            name,
            np.asarray(market.times[mine]),
            np.asarray(market.returns[mine]),
            np.asarray(market.log_range[mine], np.float64),
        )
        for name, mine in zip(dataset.assets, rows, strict=True)
    ]


def scorable(dataset: TokenDataset, rows: np.ndarray, refits: Sequence[Refit], most: int, say: Say) -> np.ndarray:
    """Those of `rows` for which every classic has enough history to be fitted to: about `most`, of the last dates."""
    kept = []
    for number, asset in enumerate(histories(dataset)):
        kept.append(np.intersect1d(rows, dataset.history_rows(number)[scored_rows(asset, refits)]))
    found = np.sort(np.concatenate(kept))
    if not len(found):
        raise BadInput(f"{dataset.manifest['source']}: no asset has enough history before the dates that are scored")
    if len(found) <= most:
        return found
    assert dataset.market is not None
    times = np.asarray(dataset.market.times[found])
    first = np.sort(times)[-most]
    say(f"the scoreboard has the last {most:,} of {len(found):,} returns, from {first.astype('datetime64[D]')} on")
    return found[times >= first]


def same_rows(dataset: TokenDataset, like: TokenDataset, rows: np.ndarray, name: str) -> np.ndarray:
    """The rows of `dataset` that hold the returns in `rows` of `like`. Raises BadInput, naming `name`, if any lack."""
    require_returns(dataset)
    assert dataset.market is not None and like.market is not None
    owner, found = like.assets_of(rows), np.empty(len(rows), np.int64)
    for number in np.unique(owner):
        asset, mine = like.assets[number], np.flatnonzero(owner == number)
        if asset not in dataset.assets:
            raise BadInput(f"{name} knows no {asset}; compare runs on the same prices")
        history = dataset.history_rows(dataset.assets.index(asset))
        times = np.asarray(dataset.market.times[history])
        place = np.minimum(np.searchsorted(times, like.market.times[rows[mine]]), len(times) - 1)
        found[mine] = history[place]
        apart = np.abs(dataset.market.returns[found[mine]] - like.market.returns[rows[mine]])
        if (times[place] != like.market.times[rows[mine]]).any() or apart.max() > SAME_RETURN:
            raise BadInput(f"{name} has other returns of {asset}; compare runs on the same prices")
    return found


def outcomes_of(dataset: TokenDataset, rows: np.ndarray, partition: Partition) -> Outcomes:
    """What came true at `rows`, on the shared bins of `partition`."""
    market = partition.market
    return Outcomes(
        dataset.assets,
        dataset.assets_of(rows),
        np.asarray(market.times[rows]),
        np.asarray(market.returns[rows]),
        np.asarray(market.volatility[rows]),
        partition.return_edges(rows),
    )


def classic_laws(
    dataset: TokenDataset, rows: np.ndarray, refits: Sequence[Refit], cache: Path, say: Say
) -> dict[str, Law]:
    """The law of each baseline at `rows`, the season of the day included; what was fitted is kept in `cache`."""
    owner_N, assets = dataset.assets_of(rows), histories(dataset)
    fit = cached_fit(cache)
    laws: dict[str, Law] = {}
    for name, baseline in BASELINES.items():
        say(name)
        parts, order = [], []
        for number, asset in enumerate(assets):
            mine = np.flatnonzero(owner_N == number)
            if len(mine):
                described = dataset.history_rows(number)[scored_rows(asset, refits)]
                law = in_season(baseline, asset, refits, fit)
                parts.append(law.take(np.searchsorted(described, rows[mine])))
                order.append(mine)
        laws[name] = concatenate(parts).take(np.argsort(np.concatenate(order)))
    return laws


def cached_fit(cache: Path) -> Callable[[Classic, Asset], Any]:
    """`classic.fit(past)`, looked up by the hash of both, and of the code that fits, where it was done before."""
    code = code_hash(*FITS_DEPEND_ON)

    def fit(classic: Classic, past: Asset) -> Any:
        arrays = (past.returns, past.log_range) if past.log_range is not None else (past.returns,)
        file = cache / f"{content_hash(code, repr(classic), *arrays)}.json"
        if not file.is_file():
            cache.mkdir(parents=True, exist_ok=True)
            write_json(file, classic.fit(past).to_json())
        return classic.parameters.from_json(read_json(file))

    return fit


def token_law(dataset: TokenDataset, rows: np.ndarray, masses_NK: np.ndarray) -> TokenLaw:
    """The law behind token probabilities of `rows`."""
    assert dataset.market is not None and isinstance(dataset.tokenizer, ReturnTokenizer)
    return TokenLaw(dataset.tokenizer, np.asarray(dataset.market.known_before[rows]), masses_NK)
