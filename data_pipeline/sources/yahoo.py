"""Prices from Yahoo, through the yfinance client.

The client's defaults have changed between versions and it reports most failures by an empty frame, so this adapter pins
what is asked for (`auto_adjust=False`, actions kept), keeps an eye on the HTTP status, and turns every outcome into
bars, `Refused` or `NotDelivered`.
"""

from __future__ import annotations

import functools
import logging
import random
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import pandas as pd
import yfinance
from curl_cffi.requests import Session
from yfinance.data import YfData
from yfinance.exceptions import YFPricesMissingError

from data_pipeline.errors import BadInput, OutOfResources
from data_pipeline.sources.yahoo_frame import normalize, shortfall, with_adj_close

TIMEOUT_S = 20.0
FIRST_WAIT_S, LONGEST_WAIT_S = 1.0, 60.0


class Refused(BadInput):
    """Yahoo will not answer this request however often it is made, for example about an unknown ticker."""


class NotDelivered(OutOfResources):
    """Yahoo did not deliver this time: too many requests, a failing server, no answer, or one without prices."""

    def __init__(self, message: str, empty: bool = False) -> None:
        super().__init__(message)
        self.empty = empty


@dataclass(frozen=True)
class Delivery:
    """What Yahoo sent: raw bars, what they are quoted in, and what is missing at their end ('' when nothing is)."""

    bars: pd.DataFrame
    currency: str | None
    timezone: str | None
    missing: str


def fetch(symbol: str, interval: str, start: date, end: date | None, retries: int) -> Delivery:
    """Raw bars from the day `start` up to the day before `end`, or to the newest; failures are retried.

    A delivery that stops short is retried too, and returned if it stays so. Raises Refused or NotDelivered.
    """
    best, failure = None, None
    for attempt in range(retries + 1):
        if attempt:
            time.sleep(_wait_s(attempt))
        try:
            delivery = _ask(symbol, interval, start, end)
        except NotDelivered as error:
            failure = error
            continue
        if not delivery.missing:
            return delivery
        best = delivery if best is None or len(delivery.bars) > len(best.bars) else best
    if best is None:
        raise failure or ValueError(f"retries={retries} is negative")
    return best


def _wait_s(attempt: int) -> float:
    """Exponential backoff; the jitter keeps several processes from returning all at once."""
    return min(FIRST_WAIT_S * 2 ** (attempt - 1), LONGEST_WAIT_S) * random.uniform(0.5, 1.5)


def _ask(symbol: str, interval: str, start: date, end: date | None) -> Delivery:
    session = _session()
    session.chart_status = None
    with _client():
        try:
            ticker = yfinance.Ticker(symbol, session=session)
            frame = ticker.history(
                start=start.isoformat(),
                end=end and end.isoformat(),
                interval=interval,
                auto_adjust=False,
                actions=True,
                keepna=interval != "30m",  # the client makes these itself, with empty ones through nights and weekends
                timeout=TIMEOUT_S,
            )
            about = ticker.history_metadata
        except Exception as error:  # anything at all: its parsers trip over answers they did not expect
            raise _failure(error, session.chart_status) from None
    bars = normalize(frame, symbol)
    if not np.isfinite(bars["close"].to_numpy()).any():
        raise NotDelivered("Yahoo answered without any price", empty=True)
    missing = shortfall(bars, interval, about.get("regularMarketTime"), end)
    return Delivery(with_adj_close(bars), about.get("currency"), about.get("exchangeTimezoneName"), missing)


def _failure(error: Exception, status: int | None) -> Refused | NotDelivered:
    """What went wrong, by the HTTP status of the last answer about prices (None: there was none)."""
    if status == 404:
        return Refused("Yahoo does not know this ticker; look its spelling up at finance.yahoo.com")
    if status in (400, 422):  # days it does not have
        return Refused(f"Yahoo refuses: {getattr(error, 'rationale', error)}")
    if status == 429:
        return NotDelivered("Yahoo says too many requests (429); try again later")
    if status is None:
        return NotDelivered(f"no answer from Yahoo ({type(error).__name__}); try again later")
    if status != 200:
        return NotDelivered(f"Yahoo's server failed ({status}); try again later")
    if isinstance(error, YFPricesMissingError):
        return NotDelivered("Yahoo answered without any price", empty=True)
    return NotDelivered(f"Yahoo's answer is not readable ({type(error).__name__}); try again later")


class _WatchedSession(Session):
    """Remembers the HTTP status of the last answer about prices, which the client does not pass on."""

    chart_status: int | None = None

    def request(self, method: Any, url: str, *args: Any, **options: Any) -> Any:
        response = super().request(method, url, *args, **options)
        if "/v8/finance/chart/" in url:
            self.chart_status = response.status_code
        return response


@functools.cache
def _session() -> _WatchedSession:
    return _WatchedSession(impersonate="chrome")  # as the client's own


@contextmanager
def _client() -> Iterator[None]:
    """The client as we use it: it raises, it is silent, and it asks anew.

    Its cache of answers keeps failed ones too, so that without clearing a retry would see the same failure again.
    """
    YfData.cache_get.cache_clear()
    logging.getLogger("yfinance").setLevel(logging.CRITICAL)
    debug = yfinance.config.debug
    hidden, debug.hide_exceptions = debug.hide_exceptions, False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        debug.hide_exceptions = hidden
