"""The token dataset: one row per return, split by calendar date, on disk as checked `.npy` files.

Rows of an asset are contiguous and in time order. `segments[a] = (begin, train, validation, test, end)` are the row
numbers at which asset a begins, at which its training, validation and test rows begin, and its end. The rows from
`begin` to `train` are the warm-up: their volatility is not yet known, so no model ever sees them. A row's token is
*scored* in its own split only; rows before it may serve as context.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from data_pipeline.bars import ReturnSeries
from data_pipeline.errors import BadInput, DamagedData
from data_pipeline.storage import new_directory, read_json, write_json
from data_pipeline.tokenizers import RETURN_TOKENIZERS, TokenIds, Tokenizer, tokenizer_from_json
from data_pipeline.tokenizers.base import ReturnTokenizer
from data_pipeline.volatility import WARMUP

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
FORMAT = 1
LIBRARIES = ("numpy", "pandas", "scipy", "arch")


class Market(NamedTuple):
    """What is known about each row beside its token, where the tokens were made from prices."""

    times: np.ndarray  # (N,) datetime64[ns] of the bar that ends the return
    closes: np.ndarray  # (N,) its price
    returns: np.ndarray  # (N,) log returns
    volatility: np.ndarray  # (N,) known before each return: what scaled it, where anything did
    inputs: np.ndarray  # (N, F) float32, known after the return


@dataclass(frozen=True, eq=False)
class TokenDataset:
    """Tokens of N returns of A assets, with what is known about each; see the module's head for `segments`."""

    tokens: np.ndarray  # (N,) smallest unsigned integers that hold the vocabulary
    segments: np.ndarray  # (A, 5) int64
    tokenizer: Tokenizer
    manifest: dict[str, Any]
    market: Market | None = None  # None for bare token ids

    @property
    def assets(self) -> list[str]:
        return [asset["unique_id"] for asset in self.manifest["assets"]]

    def arrays(self) -> dict[str, np.ndarray]:
        """The arrays there are, by file name."""
        market = {} if self.market is None else self.market._asdict()
        return {"tokens": self.tokens, "segments": self.segments, **market}

    def rows(self, split: Split) -> np.ndarray:
        """Row numbers that are scored in `split`."""
        return np.concatenate([np.arange(*span) for span in self.spans(split)])

    def spans(self, split: Split) -> list[tuple[int, int]]:
        """Per asset, the rows [low, high) scored in `split`; a first row has no context and is never scored."""
        part = 1 + SPLITS.index(split)
        lows = [max(int(s[part]), int(s[1]) + 1) for s in self.segments]
        return [(low, max(low, int(s[part + 1]))) for low, s in zip(lows, self.segments, strict=True)]

    def training_rows(self) -> np.ndarray:
        """All rows of the training dates, warm-up left out: what may be fitted on."""
        return np.concatenate([np.arange(s[1], s[2]) for s in self.segments])

    def window_starts(self, length: int) -> np.ndarray:
        """First rows of every training window of `length` tokens and the targets one step on, all in one asset.

        Raises BadInput when not a single window fits.
        """
        found = np.concatenate([np.arange(s[1], s[2] - length) for s in self.segments])
        if not len(found):
            longest = max(s[2] - s[1] for s in self.segments)
            raise BadInput(
                f"{self.manifest['source']}: the longest asset has {longest} training tokens, one window needs "
                f"{length + 1}; try --sequence_len {max(1, longest // 2)} or give a longer history"
            )
        return found


def build_dataset(
    series: Sequence[ReturnSeries],
    *,
    source: str,
    tokenizer: str | ReturnTokenizer,
    train_end: str | None = None,
    validation_end: str | None = None,
) -> TokenDataset:
    """Tokenize the returns of several assets and split them by date.

    Args:
      series: log returns per asset.
      source: where they come from, for the manifest.
      tokenizer: the name of one to fit on the training dates, or one already fitted.
      train_end, validation_end: the last training and validation dates; by default 70 % and 85 % of all bars lie
        before them.

    Raises BadInput for dates out of order, an unknown tokenizer or too little data.
    """
    train_end, validation_end = _split_dates(series, train_end, validation_end)
    borders = np.array([train_end, validation_end], "datetime64[D]") + np.timedelta64(1, "D")
    cuts = [np.searchsorted(s.times, borders.astype("datetime64[ns]")) for s in series]
    if isinstance(tokenizer, str):
        if tokenizer not in RETURN_TOKENIZERS:
            raise BadInput(f"tokenizer {tokenizer!r} is unknown; choose one of {sorted(RETURN_TOKENIZERS)}")
        kind = RETURN_TOKENIZERS[tokenizer]
        tokenizer = kind.fit([s.log_returns[: cut[0]] for s, cut in zip(series, cuts, strict=True)])
    tokens, markets, segments, assets, row = [], [], [], [], 0
    for s, cut in zip(series, cuts, strict=True):
        if len(s.times) <= WARMUP + 1:
            raise BadInput(f"{source}: {s.unique_id} has {len(s.times)} returns, the warm-up alone takes {WARMUP}")
        filtered = tokenizer.filter(s.log_returns)
        tokens.append(tokenizer.encode(s.log_returns, filtered.volatility))
        markets.append(Market(s.times, s.closes, s.log_returns, filtered.volatility, filtered.inputs))
        segments.append(row + np.array([0, WARMUP, *np.maximum(cut, WARMUP), len(s.times)]))
        row += len(s.times)
        assets.append({"unique_id": s.unique_id, "first": str(s.times[0]), "last": str(s.times[-1])})
    manifest = {
        "format": FORMAT,
        "source": source,
        "assets": assets,
        "splits": {"train_end": train_end, "validation_end": validation_end},
        "libraries": {name: version(name) for name in LIBRARIES},
    }
    return _sealed(
        TokenDataset(
            np.concatenate(tokens).astype(_dtype(tokenizer.vocab_size)),
            np.array(segments, np.int64),
            tokenizer,
            manifest,
            Market(*(np.concatenate(column) for column in zip(*markets, strict=True))),
        )
    )


def _dtype(vocab_size: int) -> np.dtype:
    return np.min_scalar_type(vocab_size - 1)


def _split_dates(series: Sequence[ReturnSeries], train_end: str | None, validation_end: str | None) -> tuple[str, str]:
    days = np.sort(np.concatenate([s.times for s in series])).astype("datetime64[D]")
    if not len(days):
        raise BadInput("there are no returns; give at least two bars per asset")
    first = parse_day(train_end, "--train_end") if train_end else days[int(0.7 * (len(days) - 1))]
    second = parse_day(validation_end, "--validation_end") if validation_end else days[int(0.85 * (len(days) - 1))]
    if not days[0] <= first < second <= days[-1]:
        raise BadInput(
            f"train_end {first} and validation_end {second} must follow one another within the data, "
            f"which runs from {days[0]} to {days[-1]}"
        )
    return str(first), str(second)


def read_token_file(path: str | Path, vocab_size: int) -> TokenDataset:
    """The seed's `all_tokens.txt`: space-separated ids, one stream; 80 % train, 10 % validate, 10 % test, in order.

    Raises BadInput for text that is no id and for ids outside the vocabulary.
    """
    ids = parse_ids(Path(path).read_text(encoding="utf-8", errors="replace"), vocab_size, str(path), "--vocab_size")
    if len(ids) < 10:
        raise BadInput(f"{path}: {len(ids)} tokens, too few to split; the file holds space-separated integers")
    segments = np.array([[0, 0, int(0.8 * len(ids)), int(0.9 * len(ids)), len(ids)]], np.int64)
    manifest = {
        "format": FORMAT,
        "source": str(path),
        "assets": [{"unique_id": Path(path).stem}],
        "splits": {"train_share": 0.8, "validation_share": 0.1},
        "libraries": {"numpy": version("numpy")},
    }
    return _sealed(TokenDataset(ids.astype(_dtype(vocab_size)), segments, TokenIds(vocab_size), manifest))


def parse_ids(text: str, vocab_size: int, where: str, vocab_flag: str | None = None) -> np.ndarray:
    """Space-separated token ids, int64. Raises BadInput naming the first word that is no id in [0, vocab_size).

    `vocab_flag` is the flag that would widen the vocabulary, where there is one.
    """
    words = text.split()
    bad = next((word for word in words if not re.fullmatch(r"-?[0-9]{1,18}", word)), None)
    if bad is not None:
        raise BadInput(f"{where}: {bad[:40]!r} is not a token id; ids are space-separated integers like 80 81 83")
    ids = np.array(words, dtype=np.int64)
    outside = (ids < 0) | (ids >= vocab_size)
    if outside.any():
        place, largest = int(np.argmax(outside)), int(ids.max())
        mend = f"set {vocab_flag} {largest + 1}" if vocab_flag and ids.min() >= 0 else "mend the ids"
        raise BadInput(f"{where}: token {ids[place]} at position {place} is outside [0, {vocab_size}); {mend}")
    return ids


def parse_day(text: str, where: str) -> np.datetime64:
    """A date like 2010-12-31. Raises BadInput for anything else."""
    try:
        if not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text):
            raise ValueError
        return np.datetime64(text, "D")
    except ValueError:
        raise BadInput(f"{where} {text}: not a date; write it like 2010-12-31") from None


def write_dataset(dataset: TokenDataset, directory: str | Path) -> None:
    """Write to a new directory, all or nothing. Raises BadInput when the directory is already there."""
    with new_directory(Path(directory)) as partial:
        for name, array in dataset.arrays().items():
            with open(partial / f"{name}.npy", "wb") as file:
                np.save(file, array, allow_pickle=False)
                file.flush()
                os.fsync(file.fileno())
        write_json(partial / "tokenizer.json", dataset.tokenizer.to_json())
        write_json(partial / "manifest.json", dataset.manifest)


def open_dataset(directory: str | Path) -> TokenDataset:
    """Open a dataset memory-mapped, after checking it against its manifest.

    Raises BadInput when it is no dataset, DamagedData when an array is missing or is not what was written.
    """
    directory = Path(directory)
    if not is_dataset(directory):
        raise BadInput(f"{directory}: no token dataset here; make one with 'mqc data prepare'")
    manifest = _checked_manifest(directory)
    tokenizer = tokenizer_from_json(read_json(directory / "tokenizer.json"), str(directory / "tokenizer.json"))
    if _hash(tokenizer.to_json()) != manifest["tokenizer"]:
        raise DamagedData(f"{directory / 'tokenizer.json'}: not the one in manifest.json; prepare the dataset again")
    arrays = {}
    for name, entry in manifest["arrays"].items():
        path = directory / f"{name}.npy"
        try:
            arrays[name] = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise DamagedData(f"{path}: not a readable array ({error}); prepare the dataset again") from None
        if _describe(arrays[name]) != entry:
            raise DamagedData(f"{path}: type, shape or SHA-256 differ from manifest.json; prepare the dataset again")
    tokens, segments = arrays.pop("tokens"), arrays.pop("segments")
    dataset = TokenDataset(tokens, segments, tokenizer, manifest, Market(**arrays) if arrays else None)
    if len(dataset.tokens) and dataset.tokens.max() >= tokenizer.vocab_size:
        raise DamagedData(
            f"{directory / 'tokens.npy'}: token {dataset.tokens.max()} is outside the vocabulary of "
            f"{tokenizer.vocab_size}; prepare the dataset again"
        )
    return dataset


def is_dataset(path: Path) -> bool:
    """Whether `path` is a directory that claims to hold a token dataset."""
    return (path / "manifest.json").is_file() and not (path / "config.json").exists()


def _checked_manifest(directory: Path) -> dict[str, Any]:
    manifest = read_json(directory / "manifest.json")
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        found = manifest.get("format") if isinstance(manifest, dict) else None
        raise DamagedData(f"{directory}: dataset format {found}, this version reads {FORMAT}; prepare it again")
    described = manifest.get("arrays")
    known = {"tokens", "segments"}, {"tokens", "segments", *Market._fields}
    if (
        not isinstance(described, dict)
        or set(described) not in known
        or not {"assets", "splits", "tokenizer"} <= set(manifest)
    ):
        raise DamagedData(f"{directory / 'manifest.json'}: entries are missing or unknown; prepare the dataset again")
    return manifest


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _sealed(dataset: TokenDataset) -> TokenDataset:
    described = {name: _describe(array) for name, array in dataset.arrays().items()}
    sealed = {"tokenizer": _hash(dataset.tokenizer.to_json()), "arrays": described}
    return replace(dataset, manifest=dataset.manifest | sealed)


def _describe(array: np.ndarray) -> dict[str, Any]:
    digest = hashlib.sha256(np.ascontiguousarray(array).view(np.uint8).data).hexdigest()
    return {"dtype": str(array.dtype), "shape": list(array.shape), "sha256": digest}
