"""Real daily prices that come with the `arch` package: no network, no terms to accept.

S&P 500 and Nasdaq 1999-2018 (open, high, low, close, volume) and WTI crude oil 1986-2018 (close). Days without a WTI
price are left out. WTI's two days of January 2019 are left out too, so that all assets end together.
"""

from __future__ import annotations

import pandas as pd
from arch.data import nasdaq, sp500, wti

LAST_DAY = "2018-12-31"
TRAIN_END, VALIDATION_END = "2010-12-31", "2013-12-31"  # so that the test is 2014-2018


def load() -> pd.DataFrame:
    """Canonical bars of SP500, NASDAQ and WTI."""
    oil = wti.load().rename(columns={"DCOILWTICO": "Close"}).dropna()
    frames = {"SP500": sp500.load(), "NASDAQ": nasdaq.load(), "WTI": oil}
    return pd.concat([_canonical(unique_id, frame) for unique_id, frame in frames.items()], ignore_index=True)


def _canonical(unique_id: str, frame: pd.DataFrame) -> pd.DataFrame:
    frame = frame.loc[:LAST_DAY]
    frame = frame.set_axis([name.lower().replace(" ", "_") for name in frame.columns], axis=1)
    return frame.rename_axis("ds").reset_index().assign(unique_id=unique_id)
