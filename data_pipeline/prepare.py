"""From whatever the user named to a token dataset."""

from __future__ import annotations

from pathlib import Path

from data_pipeline.bars import return_series
from data_pipeline.dataset import TokenDataset, build_dataset, is_dataset, open_dataset, read_token_file
from data_pipeline.errors import BadInput
from data_pipeline.sources import bundled, load_bars
from data_pipeline.tokenizers.base import ReturnTokenizer


def prepare(
    source: str,
    *,
    tokenizer: str | ReturnTokenizer,
    vocab_size: int,
    train_end: str | None = None,
    validation_end: str | None = None,
) -> TokenDataset:
    """Open or make the token dataset of `source`.

    Args:
      source: "bundled", a token dataset, a `.txt` file of token ids, a CSV file or a folder of them.
      tokenizer: the name of the tokenizer to fit, or a fitted one; not used where the source is tokens already.
      vocab_size: bound on the ids of a `.txt` file.
      train_end, validation_end: last training and validation dates, where the source is prices.

    Raises BadInput or DamagedData, naming the file and the mend.
    """
    path = Path(source)
    if (path / "config.json").is_file():
        raise BadInput(f"{source} is a run, not data; the tokens it was trained on may be in {path / 'dataset'}")
    if is_dataset(path):
        dataset = open_dataset(path)
        for name, wanted in (("train_end", train_end), ("validation_end", validation_end)):
            split_at = dataset.manifest["splits"].get(name)
            if wanted not in (None, split_at):
                raise BadInput(f"{source} was split at {name} {split_at}, not {wanted}; prepare it again to move it")
        return dataset
    if path.suffix == ".txt" and path.is_file():
        if train_end or validation_end:
            raise BadInput(f"{source} holds bare token ids without dates; leave out --train_end and --validation_end")
        return read_token_file(path, vocab_size)
    if source == "bundled":
        train_end, validation_end = train_end or bundled.TRAIN_END, validation_end or bundled.VALIDATION_END
    series = return_series(load_bars(source))
    return build_dataset(series, source=source, tokenizer=tokenizer, train_end=train_end, validation_end=validation_end)
