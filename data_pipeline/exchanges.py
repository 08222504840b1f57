"""Which calendar a symbol belongs to, by the way it is written. A guess: `calendars.infer` holds it against the bars.

Sources: Yahoo's help page "Exchanges and data providers" (suffixes), ISO 4217 (currencies), ISO 10383 (XNYS, …).
"""

from __future__ import annotations

import re
from typing import NamedTuple

SUFFIXES = {
    "US": "XNYS",
    "L": "XLON",
    "IR": "XDUB",
    "DE": "XETR",
    "F": "XFRA",
    "DU": "XDUS",
    "HM": "XHAM",
    "SG": "XSTU",
    "PA": "XPAR",
    "AS": "XAMS",
    "BR": "XBRU",
    "LS": "XLIS",
    "MI": "XMIL",
    "MC": "XMAD",
    "SW": "XSWX",
    "VI": "XWBO",
    "ST": "XSTO",
    "CO": "XCSE",
    "HE": "XHEL",
    "OL": "XOSL",
    "IC": "XICE",
    "WA": "XWAR",
    "PR": "XPRA",
    "BD": "XBUD",
    "AT": "ASEX",
    "IS": "XIST",
    "TA": "XTAE",
    "SR": "XSAU",
    "JO": "XJSE",
    "T": "XTKS",
    "HK": "XHKG",
    "SS": "XSHG",
    "SZ": "XSHG",  # Shenzhen keeps Shanghai's hours and holidays
    "KS": "XKRX",
    "KQ": "XKRX",
    "TW": "XTAI",
    "TWO": "XTAI",
    "SI": "XSES",
    "KL": "XKLS",
    "JK": "XIDX",
    "BK": "XBKK",
    "BO": "XBOM",
    "NS": "XBOM",  # the National Stock Exchange keeps Bombay's
    "AX": "XASX",
    "NZ": "XNZE",
    "TO": "XTSE",
    "V": "XTSE",
    "SA": "BVMF",
    "MX": "XMEX",
    "BA": "XBUE",
    "SN": "XSGO",
}
INDICES = {
    "XNYS": "^GSPC ^SPX ^DJI ^IXIC ^NDX ^RUT ^VIX ^NYA SP500 NASDAQ WTI",  # the last three are the bundled prices
    "XTSE": "^GSPTSE",
    "BVMF": "^BVSP",
    "XMEX": "^MXX",
    "XLON": "^FTSE",
    "XETR": "^GDAXI ^MDAXI ^STOXX50E",
    "XPAR": "^FCHI",
    "XAMS": "^AEX",
    "XMAD": "^IBEX",
    "XSWX": "^SSMI",
    "XTKS": "^N225",
    "XHKG": "^HSI",
    "XKRX": "^KS11",
    "XTAI": "^TWII",
    "XSES": "^STI",
    "XBOM": "^BSESN ^NSEI",
    "XASX": "^AXJO ^AORD",
}
ICE_FUTURES = frozenset(["CC", "CT", "DX", "KC", "OJ", "SB"])  # Yahoo's other futures trade at the CME group
COINS = (
    "AAVE ADA ALGO ATOM AVAX BCH BNB BTC DASH DOGE DOT EOS ETC ETH FIL LINK LTC MATIC NEAR NEO SHIB SOL TRX UNI USDC "
    "USDT XBT XLM XMR XRP XTZ ZEC"
)
CURRENCIES = (
    "AED AUD BRL CAD CHF CLP CNH CNY COP CZK DKK EUR GBP HKD HUF IDR ILS INR JPY KRW MXN MYR NOK NZD PEN PHP PLN RON "
    "RUB SAR SEK SGD THB TRY TWD USD XAG XAU XPD XPT ZAR"
)

_BY_INDEX = {symbol: name for name, symbols in INDICES.items() for symbol in symbols.split()}


class Guess(NamedTuple):
    calendar: str
    kind: str  # what the symbol looks like, for the sentence that is printed


def guess(symbol: str) -> Guess | None:
    """The calendar that `symbol` seems to belong to, or None."""
    if symbol in _BY_INDEX:
        return Guess(_BY_INDEX[symbol], "an index")
    if future := re.fullmatch(r"([A-Z0-9]{1,4})=F", symbol):
        return Guess("IEPA" if future[1] in ICE_FUTURES else "CMES", "a US future")
    if pair := _pair(symbol):
        return pair
    stem, dot, suffix = symbol.rpartition(".")
    if dot and suffix in SUFFIXES and re.fullmatch(r"[A-Z0-9&^-]+", stem):
        return Guess(SUFFIXES[suffix], f"a .{suffix} listing")
    if re.fullmatch(r"[A-Z]{1,5}([-.][A-Z])?", symbol):
        return Guess("XNYS", "a US ticker")
    return None


def _pair(symbol: str) -> Guess | None:
    """Two currencies (EURUSD, EUR/USD, EURUSD=X, JPY=X) or a coin and what it costs in (BTC-USD, BTCUSDT, BTC/USD)."""
    currency = CURRENCIES.replace(" ", "|")
    if re.fullmatch(rf"({currency})?({currency})=X|({currency})[/-]?({currency})", symbol):
        return Guess("24/5", "a currency pair")
    coin = COINS.replace(" ", "|")
    if re.fullmatch(rf"[A-Z0-9]{{2,10}}-(USD|EUR|GBP|USDT|USDC)|({coin})[/-]?({currency}|{coin})", symbol):
        return Guess("24/7", "a crypto pair")
    return None
