"""Where bars come from. Every source returns a canonical frame (`data_pipeline.bars`)."""

from __future__ import annotations

import pandas as pd

from data_pipeline.bars import check_bars
from data_pipeline.sources import bundled, files


def load_bars(source: str) -> pd.DataFrame:
    """Bars of `source`: the word "bundled", or the path of a CSV file or of a folder of them.

    Raises BadInput when there is nothing to read or the bars are not canonical.
    """
    return check_bars(bundled.load() if source == "bundled" else files.load(source), source)
