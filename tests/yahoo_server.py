"""A stand-in for Yahoo on loopback: its v8 chart JSON over real HTTP, synthetic prices, and its ways to fail.

What it serves is a function of the symbol and of `today`, the day of its last bar: moving `today` past an ex-date or a
split restates the history as Yahoo does (closes are split-adjusted, adjusted closes also dividend-adjusted).
"""

from __future__ import annotations

import json
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit, urlunsplit
from zoneinfo import ZoneInfo

import numpy as np

ZONE = ZoneInfo("America/New_York")
DAY_0 = np.datetime64("2022-01-03")
DIVIDEND_EVERY, DIVIDEND = 63, 0.5  # weekdays, cash per share before later splits
SPLIT_DAY, SPLIT = 640, 4.0  # 2024-06-17
SLOW_S = 1.5


class Market:
    """Prices of one symbol as Yahoo knows them on the evening of `today`."""

    def __init__(self, symbol: str, today: date) -> None:
        n = int(np.busday_count(DAY_0, np.datetime64(today) + np.timedelta64(1, "D")))
        self.days = np.busday_offset(DAY_0, np.arange(n))
        shocks = np.random.default_rng(zlib.crc32(symbol.encode())).standard_normal(n)
        raw = 100 * np.exp(np.cumsum(0.01 * shocks))
        shares = np.where(np.arange(n) < SPLIT_DAY, SPLIT, 1.0) if n > SPLIT_DAY else np.ones(n)
        self.split = np.where(np.arange(n) == SPLIT_DAY, SPLIT, 0.0)
        self.dividend = np.where(np.arange(n) % DIVIDEND_EVERY == DIVIDEND_EVERY - 1, DIVIDEND, 0.0) / shares
        self.close = raw / shares
        self.adj_close = self.close.copy()
        for t in np.flatnonzero(self.dividend):
            self.adj_close[:t] *= 1 - self.dividend[t] / self.close[t - 1]


class YahooServer(ThreadingHTTPServer):
    """`today` is the day of the last bar; `answers[symbol]` yields how the next requests for its prices fare.

    "good", "empty", "partial" (the last three bars are null), "running" (the last one still moves), "no_adjclose",
    "malformed", "slow", "400", "429" or "500"; "good" when it ends.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.today = date(2024, 6, 7)
        self.crumb_status = 200
        self.answers: dict[str, Iterator[str]] = {}
        self.requests: list[tuple[str, dict[str, str]]] = []

    def price_requests(self, symbol: str) -> list[dict[str, str]]:
        """Queries of the price requests for `symbol`, in order."""
        return [query for path, query in self.requests if path.endswith(f"/{symbol}") and "period1" in query]


class _Handler(BaseHTTPRequestHandler):
    server: YahooServer  # pyright: ignore[reportIncompatibleVariableOverride]
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        path, query = unquote(url.path), {name: values[0] for name, values in parse_qs(url.query).items()}
        self.server.requests.append((path, query))
        if path == "/v1/test/getcrumb":
            self._send(self.server.crumb_status, "crumb")
        elif path.startswith("/v8/finance/chart/"):
            self._chart(path.rsplit("/", 1)[1], query)
        else:  # the cookie, the consent page and the quote summary: the client goes on without them
            self._send(404, "{}")

    def _chart(self, symbol: str, query: dict[str, str]) -> None:
        if symbol.startswith("UNKNOWN"):
            return self._send(404, _error("Not Found", "No data found, symbol may be delisted"))
        answer = next(self.server.answers.get(symbol, iter(())), "good") if "period1" in query else "good"
        if answer == "slow":
            time.sleep(SLOW_S)
        if answer in ("400", "429", "500"):
            return self._send(int(answer), "Too Many Requests" if answer == "429" else _error(answer, "as scripted"))
        if answer == "malformed":
            return self._send(200, '{"chart": {"result": [{"meta"')
        self._send(200, json.dumps(chart(symbol, query, self.server.today, answer)))

    def _send(self, status: int, text: str) -> None:
        body = text.encode()
        try:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
        except ConnectionError:  # the client no longer waits for a slow answer
            self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def _error(code: str, description: str) -> str:
    return json.dumps({"chart": {"result": None, "error": {"code": code, "description": description}}})


def _at(day: np.datetime64, hour: int, minute: int = 0) -> int:
    """Epoch seconds of a time of day in New York."""
    d = day.astype("datetime64[D]").item()
    return int(datetime(d.year, d.month, d.day, hour, minute, tzinfo=ZONE).timestamp())


def chart(symbol: str, query: dict[str, str], today: date, answer: str) -> dict:
    """Yahoo's answer to one request: bars from `period1` up to `period2`, or the last one."""
    market = Market(symbol, today)
    opens = np.array([_at(day, 9, 30) for day in market.days])
    daily = query["interval"] == "1d"
    minutes = {"1m": 1, "15m": 15, "1h": 60, "1d": 390}[query.get("interval", "1d")]
    step = np.arange(0, 390, minutes) * 60
    of_day = np.repeat(np.arange(len(opens)), len(step))
    times = (opens[:, None] + step).ravel()
    wiggle = 1 + 0.0001 * np.tile(np.arange(len(step)), len(opens))
    begin, end = (int(query[name]) for name in ("period1", "period2")) if "period1" in query else (opens[-1], 2**40)
    shown = (times >= begin) & (times < end)
    of_day, times, wiggle = of_day[shown], times[shown], wiggle[shown]
    close = market.close[of_day] * wiggle
    if answer == "running":
        close[-1] *= 1.01
    columns = {"open": close * 0.999, "high": close * 1.002, "low": close * 0.998, "close": close}
    quote = {name: values.tolist() for name, values in columns.items()} | {"volume": [1000] * len(close)}
    adjusted = market.adj_close[of_day].tolist()
    if answer == "partial":
        quote, adjusted = {name: _blank_end(values) for name, values in quote.items()}, _blank_end(adjusted)
    if answer == "empty":
        times, quote, adjusted = times[:0], {}, []
    indicators: dict = {"quote": [quote]}
    if daily and answer != "no_adjclose":
        indicators["adjclose"] = [{"adjclose": adjusted}]
    result = {"meta": _meta(symbol, market.days, opens), "indicators": indicators, "events": _events(market, opens)}
    if len(times):
        result["timestamp"] = times.tolist()
    return {"chart": {"result": [result], "error": None}}


def _blank_end(values: list) -> list:
    return [*values[:-3], *[None] * len(values[-3:])]


def _events(market: Market, opens: np.ndarray) -> dict:
    dividends = {str(opens[t]): {"amount": market.dividend[t], "date": int(opens[t])} for t in range(len(opens))}
    paid = {key: event for key, event in dividends.items() if event["amount"]}
    split = {"numerator": SPLIT, "denominator": 1.0, "splitRatio": f"{SPLIT:g}:1"}
    splits = {str(opens[t]): {"date": int(opens[t]), **split} for t in np.flatnonzero(market.split)}
    return {"dividends": paid, "splits": splits}


def _meta(symbol: str, days: np.ndarray, opens: np.ndarray) -> dict:
    def session(open_s: int) -> dict:
        return {"timezone": "EST", "start": int(open_s), "end": int(open_s) + 390 * 60, "gmtoffset": -18000}

    return {
        "currency": "USD",
        "symbol": symbol,
        "instrumentType": "EQUITY",
        "firstTradeDate": int(opens[0]),
        "regularMarketTime": _at(days[-1], 16),
        "exchangeTimezoneName": ZONE.key,
        "priceHint": 2,
        "currentTradingPeriod": {name: session(opens[-1]) for name in ("pre", "regular", "post")},
        "tradingPeriods": [[session(open_s)] for open_s in opens],
        "validRanges": ["1d", "5d", "1mo", "max"],
    }


@contextmanager
def yahoo_server() -> Iterator[YahooServer]:
    """A running stand-in."""
    with YahooServer() as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield server
        server.shutdown()


def send_to(url: str, request):
    """A `Session.request` that sends every request to the server at `url`, whatever host it was meant for."""
    place = urlsplit(url)

    def redirected(self, method: str, url: str, **options):
        there = urlsplit(url)._replace(scheme=place.scheme, netloc=place.netloc)
        return request(self, method, urlunsplit(there), **options)

    return redirected
