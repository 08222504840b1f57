"""Prices to tokens: sources, canonical bars, causal tokenizers, token datasets."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from data_pipeline.bars import ReturnSeries, return_series
    from data_pipeline.build import build_dataset, prepare
    from data_pipeline.config import DataConfig, FileOptions
    from data_pipeline.dataset import TokenDataset, open_dataset
    from data_pipeline.errors import BadInput, DamagedData, MqcError
    from data_pipeline.sources import load_bars
    from data_pipeline.token_file import read_token_file
    from data_pipeline.tokenizers import ReturnTokenizer, Tokenizer, tokenizer_from_json

_HOME = {
    "bars": ("ReturnSeries", "return_series"),
    "config": ("DataConfig", "FileOptions"),
    "dataset": ("TokenDataset", "open_dataset"),
    "errors": ("BadInput", "DamagedData", "MqcError"),
    "build": ("build_dataset", "prepare"),
    "sources": ("load_bars",),
    "token_file": ("read_token_file",),
    "tokenizers": ("ReturnTokenizer", "Tokenizer", "tokenizer_from_json"),
}
_MODULE = {name: module for module, names in _HOME.items() for name in names}

__all__ = [
    "BadInput",
    "DamagedData",
    "DataConfig",
    "FileOptions",
    "MqcError",
    "ReturnSeries",
    "ReturnTokenizer",
    "TokenDataset",
    "Tokenizer",
    "build_dataset",
    "load_bars",
    "open_dataset",
    "prepare",
    "read_token_file",
    "return_series",
    "tokenizer_from_json",
]


def __getattr__(name: str) -> Any:
    """Import on first use: whoever needs the configuration alone need not wait for pandas."""
    if name not in _MODULE:
        raise AttributeError(f"module 'data_pipeline' has no attribute {name!r}")
    return getattr(import_module(f"data_pipeline.{_MODULE[name]}"), name)
