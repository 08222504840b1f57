"""Prices to tokens: sources, canonical bars, causal tokenizers, token datasets."""

from data_pipeline.bars import ReturnSeries, check_bars, return_series
from data_pipeline.dataset import TokenDataset, build_dataset, open_dataset, read_token_file, write_dataset
from data_pipeline.errors import BadInput, DamagedData, MqcError
from data_pipeline.prepare import prepare
from data_pipeline.sources import load_bars
from data_pipeline.tokenizers import RETURN_TOKENIZERS, Tokenizer, tokenizer_from_json

__all__ = [
    "RETURN_TOKENIZERS",
    "BadInput",
    "DamagedData",
    "MqcError",
    "ReturnSeries",
    "TokenDataset",
    "Tokenizer",
    "build_dataset",
    "check_bars",
    "load_bars",
    "open_dataset",
    "prepare",
    "read_token_file",
    "return_series",
    "tokenizer_from_json",
    "write_dataset",
]
