"""The token dataset: one row per return (or special token), split by calendar date, on disk as checked `.npy` files.

Rows of an asset are contiguous and in time order. They fall into pieces, between which history is interrupted; each
piece is a segment, `segments[s] = (begin, train, validation, test, end)`: the row numbers at which its training,
validation and test rows begin, and its end. The rows from `begin` to `train` are the warm-up of an asset's first
piece: their volatility is not yet known, so no model ever sees them. A row's token is *scored* in its own split only;
rows before it in its piece may serve as context.

In the layout `interleaved` there is one segment, and each date is a block of rows: `session_open`, then a row for each
asset, `missing` where it has no bar.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np

from data_pipeline.bars import ReturnSeries
from data_pipeline.errors import BadInput, DamagedData
from data_pipeline.rows import CLOCK_NAMES, Market
from data_pipeline.storage import new_directory, read_json, sync, write_json
from data_pipeline.tokenizers import Tokenizer, tokenizer_from_json

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
FORMAT = 3
LIBRARIES = ("numpy", "pandas", "scipy", "arch", "exchange_calendars")


@dataclass(frozen=True, eq=False)
class TokenDataset:
    """Tokens of N rows of A assets, with what is known about each; see the module's head for `segments`."""

    tokens: np.ndarray  # (N,) smallest unsigned integers that hold bins and special tokens
    segments: np.ndarray  # (S, 5) int64
    tokenizer: Tokenizer
    manifest: dict[str, Any]
    market: Market | None = None  # None for bare token ids

    @property
    def assets(self) -> list[str]:
        return [asset["unique_id"] for asset in self.manifest["assets"]]

    @property
    def n_special(self) -> int:
        """Number of tokens behind the bins that are read and never predicted."""
        return len(self.manifest.get("special_tokens", ()))

    @property
    def interleaved(self) -> bool:
        return self.manifest.get("options", {}).get("layout") == "interleaved"

    def arrays(self) -> dict[str, np.ndarray]:
        """The arrays there are, by file name."""
        market = {} if self.market is None else self.market._asdict()
        named = {"tokens": self.tokens, "segments": self.segments, **market}
        return {name: array for name, array in named.items() if array is not None}

    def spans(self, split: Split) -> list[tuple[int, int]]:
        """Per segment, the rows [low, high) of `split`; a first row has no context and is never scored."""
        part = 1 + SPLITS.index(split)
        lows = [max(int(s[part]), int(s[1]) + 1) for s in self.segments]
        return [(low, max(low, int(s[part + 1]))) for low, s in zip(lows, self.segments, strict=True)]

    def rows(self, split: Split) -> np.ndarray:
        """Numbers of the rows that are scored in `split`: those of returns."""
        return self._returns_in(self.spans(split))

    def count(self, split: Split) -> int:
        """How many rows are scored in `split`; takes no memory."""
        bins = self.tokenizer.vocab_size
        spans = self.spans(split)
        if not self.n_special:
            return sum(high - low for low, high in spans)
        return sum(int(np.count_nonzero(self.tokens[low:high] < bins)) for low, high in spans)

    def training_rows(self) -> np.ndarray:
        """The returns of the training dates, warm-up left out: what may be fitted on."""
        return self._returns_in((s[1], s[2]) for s in self.segments)

    def asset_rows(self, asset: int) -> np.ndarray:
        """The returns of one asset in time order, warm-up left out."""
        if self.interleaved:
            (_, train, _, _, end) = self.segments[0]
            return self._returns_in([(train, end)], start=1 + asset, step=1 + len(self.assets))
        return self._returns_in((s[1], s[4]) for s in self.asset_segments(asset))

    def history_rows(self, asset: int) -> np.ndarray:
        """All returns of one asset in time order, warm-up and first rows of pieces included."""
        if self.interleaved:
            rows = np.arange(1 + asset, len(self.tokens), 1 + len(self.assets))
            return rows if self.market is None else rows[np.isfinite(self.market.returns[rows])]
        segments = self.asset_segments(asset)
        return self._returns_in([(segments[0, 0], segments[-1, 4])])

    def series(self, asset: int) -> ReturnSeries:
        """The returns of one asset as they were before they were cut into tokens, but for gaps and session times."""
        assert self.market is not None
        rows = self.history_rows(asset)
        starts = np.zeros(len(rows), bool)
        starts[0] = True
        starts[np.searchsorted(rows, self.asset_segments(asset)[:, 0])] = True
        market = self.market
        times, closes, returns = (np.asarray(column[rows]) for column in (market.times, market.closes, market.returns))
        has_clock = CLOCK_NAMES[0] in self.manifest["inputs"]
        clock = market.inputs[rows][:, -len(CLOCK_NAMES) :] if has_clock else None
        log_range = np.asarray(market.log_range[rows], np.float64)
        return ReturnSeries(self.assets[asset], times, closes, returns, starts, clock=clock, log_range=log_range)

    def assets_of(self, rows: np.ndarray) -> np.ndarray:
        """The number of the asset that each row belongs to."""
        if self.interleaved:
            return rows % (1 + len(self.assets)) - 1
        pieces = [asset.get("pieces", 1) for asset in self.manifest["assets"]]
        segment = np.searchsorted(self.segments[:, 4], rows, side="right")
        return np.repeat(np.arange(len(pieces)), pieces)[segment]

    def asset_segments(self, asset: int) -> np.ndarray:
        """The segments of one asset, (P, 5)."""
        first = sum(other.get("pieces", 1) for other in self.manifest["assets"][:asset])
        return self.segments[first : first + self.manifest["assets"][asset].get("pieces", 1)]

    def window_starts(self, length: int) -> np.ndarray:
        """First rows of every training window of `length` tokens and the targets one step on.

        A piece that is too short for one gives the window that begins with it and reaches beyond its end. Raises
        BadInput when not a single window fits.
        """
        sizes = self.segments[:, 2] - self.segments[:, 1]
        longest = int(sizes.max(initial=0))
        if longest <= length:
            raise BadInput(
                f"{self.manifest['source']}: the longest history has {longest} training tokens, one window needs "
                f"{length + 1}; try --sequence_len {max(1, longest // 2)} or give a longer history"
            )
        usable = self.segments[sizes > 1]
        return np.concatenate([np.arange(s[1], max(s[2] - length, s[1] + 1)) for s in usable])

    def _returns_in(self, spans, start: int = 0, step: int = 1) -> np.ndarray:
        rows = np.concatenate([np.arange(low + start, high, step) for low, high in spans] or [np.empty(0, np.int64)])
        return rows[self.tokens[rows] < self.tokenizer.vocab_size] if self.n_special else rows


def open_dataset(directory: str | Path) -> TokenDataset:
    """Open a dataset memory-mapped, after checking it against its manifest.

    Raises BadInput when it is no dataset, DamagedData when an array is missing or is not what was written.
    """
    directory = Path(directory)
    if not is_dataset(directory):
        raise BadInput(f"{directory}: no token dataset here; make one with 'mqc data prepare'")
    manifest = _checked_manifest(directory)
    tokenizer = tokenizer_from_json(read_json(directory / "tokenizer.json"), str(directory / "tokenizer.json"))
    if hash_json(tokenizer.to_json()) != manifest["tokenizer"]:
        raise DamagedData(f"{directory / 'tokenizer.json'}: not the one in manifest.json; prepare the dataset again")
    arrays = {}
    for name, entry in manifest["arrays"].items():
        path = directory / f"{name}.npy"
        try:
            arrays[name] = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise DamagedData(f"{path}: not a readable array ({error}); prepare the dataset again") from None
        if describe(arrays[name]) != entry:
            raise DamagedData(f"{path}: type, shape or SHA-256 differ from manifest.json; prepare the dataset again")
    tokens, segments = arrays.pop("tokens"), arrays.pop("segments")
    dataset = TokenDataset(tokens, segments, tokenizer, manifest, Market(**arrays) if arrays else None)
    size = tokenizer.vocab_size + dataset.n_special
    if len(tokens) and tokens.max() >= size:
        raise DamagedData(
            f"{directory / 'tokens.npy'}: token {tokens.max()} is outside the vocabulary of {size}; prepare the "
            "dataset again"
        )
    return dataset


def write_dataset(dataset: TokenDataset, directory: str | Path) -> None:
    """Write to a new directory, all or nothing. Raises BadInput when the directory is already there."""
    with new_directory(Path(directory)) as partial:
        for name, array in dataset.arrays().items():
            np.save(partial / f"{name}.npy", array, allow_pickle=False)
        write_json(partial / "tokenizer.json", dataset.tokenizer.to_json())
        write_json(partial / "manifest.json", dataset.manifest)
        sync(partial)


def write_head(directory: Path, tokenizer: Tokenizer, manifest: dict[str, Any], arrays: dict[str, Any]) -> None:
    """Write what stands beside the arrays, given each one's description."""
    write_json(directory / "tokenizer.json", tokenizer.to_json())
    write_json(directory / "manifest.json", sealed(manifest, tokenizer, arrays))


def sealed(manifest: dict[str, Any], tokenizer: Tokenizer, arrays: dict[str, Any]) -> dict[str, Any]:
    """The manifest with the hash of the tokenizer and the description of every array."""
    return manifest | {"tokenizer": hash_json(tokenizer.to_json()), "arrays": arrays}


def is_dataset(path: Path) -> bool:
    """Whether `path` is a directory that claims to hold a token dataset."""
    return (path / "manifest.json").is_file() and not (path / "config.json").exists()


def _checked_manifest(directory: Path) -> dict[str, Any]:
    manifest = read_json(directory / "manifest.json")
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        found = manifest.get("format") if isinstance(manifest, dict) else None
        raise DamagedData(f"{directory}: dataset format {found}, this version reads {FORMAT}; prepare it again")
    described = manifest.get("arrays")
    ids = {"tokens", "segments"}
    known = ids, ids | set(Market._fields) - {"known"}, ids | set(Market._fields)
    if (
        not isinstance(described, dict)
        or set(described) not in known
        or not {"assets", "splits", "tokenizer"} <= set(manifest)
    ):
        raise DamagedData(f"{directory / 'manifest.json'}: entries are missing or unknown; prepare the dataset again")
    return manifest


def manifest_head(source: str, libraries: tuple[str, ...] = LIBRARIES) -> dict[str, Any]:
    """The entries that every manifest begins with."""
    return {"format": FORMAT, "source": source, "libraries": {name: version(name) for name in libraries}}


def token_dtype(vocab_size: int) -> np.dtype:
    """The smallest unsigned integers that hold the ids."""
    return np.min_scalar_type(vocab_size - 1)


def hash_json(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def describe(array: np.ndarray) -> dict[str, Any]:
    """Type, shape and SHA-256 of an array's bytes; those of a file are read in turn, which takes no memory."""
    if isinstance(array, np.memmap) and array.filename is not None:
        with open(array.filename, "rb") as file:
            file.seek(array.offset)
            digest = hashlib.file_digest(file, "sha256")
    else:
        digest = hashlib.sha256(np.ascontiguousarray(array).view(np.uint8).data)
    return {"dtype": str(array.dtype), "shape": list(array.shape), "sha256": digest.hexdigest()}
