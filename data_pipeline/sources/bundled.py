"""Real daily prices that come with the `arch` package: no network, no terms to accept.

S&P 500 and Nasdaq 1999-2018 (open, high, low, close, volume) and WTI crude oil 1986-2018 (close). Days without a WTI
price are left out. WTI's two days of January 2019 are left out too, so that all assets end together.
"""

from __future__ import annotations

from importlib import import_module

import pandas as pd

LAST_DAY = "2018-12-31"
TRAIN_END, VALIDATION_END = "2010-12-31", "2013-12-31"  # so that the test is 2014-2018
_MODULES = {"SP500": "sp500", "NASDAQ": "nasdaq", "WTI": "wti"}
ASSETS = tuple(_MODULES)


def bars(unique_id: str) -> pd.DataFrame:
    """Bars of SP500, NASDAQ or WTI."""
    frame = import_module(f"arch.data.{_MODULES[unique_id]}").load().loc[:LAST_DAY]
    frame = frame.rename(columns={"DCOILWTICO": "close"})
    frame = frame.set_axis([name.lower().replace(" ", "_") for name in frame.columns], axis=1)
    return frame.dropna(subset="close").rename_axis("ds").reset_index().assign(unique_id=unique_id)
