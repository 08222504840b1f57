"""Opening hours of the world's markets as plain arrays, from the exchange_calendars library.

It gives holidays, early closes, lunch breaks and daylight saving. Two markets are told differently from the library,
because bars in the wild are: "24/5" is the week of foreign exchange, five days that each begin at 17:00 New York time
on the evening before (the library has UTC days, without the Sunday evening), and a day at the CME ends with its hour
of rest (the library has 24 hours without one).
"""

from __future__ import annotations

import difflib
import functools
from typing import NamedTuple

import numpy as np
import pandas as pd

from data_pipeline.errors import BadInput

FIRST_DAY, LAST_DAY = pd.Timestamp("1900-01-01"), pd.Timestamp("2075-12-31")  # where the library has no limits itself
_CME_REST = np.timedelta64(1, "h")  # 16:00 to 17:00 in Chicago; early closes, at noon, are as the library has them


class Hours(NamedTuple):
    """Sessions in order, and the stretches of unbroken trading that they consist of."""

    sessions: np.ndarray  # (S,) datetime64[ns], the midnight of each session's date
    opens: np.ndarray  # (G,) datetime64[ns] UTC, of the stretches: S and one more for every lunch break
    closes: np.ndarray  # (G,)
    session: np.ndarray  # (G,) index into `sessions`


def canonical_name(name: str) -> str:
    """The library's name for `name` or for what it is an alias of. Raises BadInput with the nearest names."""
    import exchange_calendars as library

    known = library.get_calendar_names(include_aliases=True)
    if name not in known:
        near = difflib.get_close_matches(name.upper(), known, 3, 0.6) or ["XNYS", "24/5", "24/7"]
        raise BadInput(f"no calendar is called {name!r}; did you mean {', '.join(near)}?")
    return library.resolve_alias(name)


@functools.cache
def hours_of(name: str) -> Hours:
    """Hours of the market with this canonical name. Raises BadInput where the library cannot tell them."""
    if name == "24/5":
        return _foreign_exchange()
    schedule = _schedule(name)
    opens, breaks, resumes, closes = (
        schedule[column].dt.tz_localize(None).to_numpy("datetime64[ns]")
        for column in ("open", "break_start", "break_end", "close")
    )
    if name in ("CMES", "us_futures"):
        closes = np.where(closes - opens == np.timedelta64(24, "h"), closes - _CME_REST, closes)
    lunch = np.flatnonzero(~np.isnat(breaks))
    session = np.arange(len(opens))
    return Hours(
        sessions=schedule.index.to_numpy("datetime64[ns]"),
        opens=np.insert(opens, lunch + 1, resumes[lunch]),
        closes=np.insert(closes, lunch, breaks[lunch]),
        session=np.insert(session, lunch, lunch),
    )


def _schedule(name: str) -> pd.DataFrame:
    import exchange_calendars as library

    try:
        usual = library.get_calendar(name)
        first = max(FIRST_DAY, usual.bound_min() or FIRST_DAY).isoformat()
        last = min(LAST_DAY, usual.bound_max() or LAST_DAY).isoformat()
        return library.get_calendar(name, start=first, end=last).schedule
    except (ValueError, NotImplementedError) as error:  # some, XTAE and ASEX in 4.13, fail with a newer pandas
        reason = str(error).partition(" [")[0][:80]
        raise BadInput(f"exchange_calendars cannot build {name} ({reason}); give another --calendar") from None


def _foreign_exchange() -> Hours:
    days = pd.bdate_range(FIRST_DAY, LAST_DAY)
    evenings = (days - pd.Timedelta(hours=7)).tz_localize("America/New_York").tz_convert("UTC").tz_localize(None)
    closes = (days + pd.Timedelta(hours=17)).tz_localize("America/New_York").tz_convert("UTC").tz_localize(None)
    as_ns = (index.to_numpy("datetime64[ns]") for index in (days, evenings, closes))
    return Hours(*as_ns, session=np.arange(len(days)))
