"""Which bars a market's calendar expects: where each bar belongs, which are missing, which come next.

Every bar expected at some interval is a *slot*, and slots are numbered, so that all answers are whole-array arithmetic.

Times are datetime64[ns], UTC without a zone. Daily bars are labelled by the midnight of their session's date, whatever
the hours of that session in UTC. Longer bars keep the phase of the labels at hand (each Monday, the first of each
month) and are due where they hold a session. Intraday bars are labelled by their start (Yahoo, Binance) or their end;
they are counted from the open, and anew after a lunch break: New York's hours start at 9:30, 10:30 … 15:30, and the
close cuts the last one short.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np

from data_pipeline.errors import BadInput
from data_pipeline.exchanges import guess
from data_pipeline.trading_hours import Hours, canonical_name, hours_of

Label = Literal["start", "end"]

MISFITS = 0.01  # of the bars: beyond, a guessed calendar is refused
HOLE = np.timedelta64(14, "D")  # longer than exchanges usually close: a gap even where no calendar is known
DAY, WEEK, MONTH = np.timedelta64(1, "D"), np.timedelta64(7, "D"), np.timedelta64(30, "D")
ONE_MONTH = np.timedelta64(1, "M")  # of the calendar; MONTH is the nominal length of a bar
_TICK = np.timedelta64(1, "ns")
_NEVER = np.datetime64("NaT", "ns")


class Slots(NamedTuple):
    """Numbered places for bars: spans of time cut into slots of `interval`; a span's end may cut its last one short."""

    starts: np.ndarray  # (G,) datetime64[ns] of the spans
    ends: np.ndarray  # (G,)
    numbers: np.ndarray  # (G + 1,) number of each span's first slot, and of all slots
    interval: np.timedelta64

    @classmethod
    def of(cls, starts: np.ndarray, ends: np.ndarray, interval: np.timedelta64) -> Slots:
        counts = -((starts - ends) // interval) if interval < DAY else np.ones(len(starts), np.int64)
        return cls(starts, ends, np.concatenate([[0], np.cumsum(counts)]), interval)

    def locate(self, instants: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The slot that holds each instant, or else the next to come; and whether it is held."""
        span, inside = _span_of(instants, self.starts, self.ends)
        first = self.numbers[span]
        row = np.minimum(span, len(self.starts) - 1)
        within = np.minimum((instants - self.starts[row]) // self.interval, self.numbers[row + 1] - first - 1)
        return np.where(inside, first + within, first), inside

    def bounds(self, number: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Start and end of the slots of these numbers."""
        span = np.searchsorted(self.numbers, number, "right") - 1
        start = self.starts[span] + (number - self.numbers[span]) * self.interval
        return start, np.where(number + 1 == self.numbers[span + 1], self.ends[span], start + self.interval)


@dataclass(frozen=True, eq=False)
class Calendar:
    """The expected bars of one market. `label` says what intraday stamps mean: when a bar starts or when it ends."""

    name: str
    hours: Hours
    label: Label = "start"

    def fit(self, times: np.ndarray, interval: np.timedelta64 | None = None) -> tuple[Calendar, np.ndarray]:
        """This calendar with the label that explains more of the bars, and which bars (T,) are where it expects them.

        An intraday bar must be stamped with a time of the calendar's; a longer one need only share its date or period
        with a session. Where both labels explain as much, stamps are starts. `interval` is by default the usual one.
        """
        interval = bar_interval(times) if interval is None else interval
        if interval >= DAY:
            return self, self._locate(times, interval)[2]
        fits = {}
        for label in ("start", "end"):
            calendar = replace(self, label=label)
            slots, number, inside = calendar._locate(times, interval)
            inside[inside] = calendar._labels(slots, number[inside]) == times[inside]
            fits[calendar] = inside
        return max(fits.items(), key=lambda item: np.count_nonzero(item[1]))

    def bars_between(self, first: np.datetime64, last: np.datetime64, interval: np.timedelta64) -> np.ndarray:
        """Labels of all bars expected from `first` to `last`, both included, (N,) datetime64[ns]."""
        bounds = _stamps([first, last], interval)
        slots, (low, high), _ = self._locate(bounds, interval)
        labels = self._labels(slots, np.arange(low, min(high + 1, slots.numbers[-1])))
        return labels[(labels >= bounds[0]) & (labels <= bounds[1])]

    def next_bars(self, last: np.datetime64, n: int, interval: np.timedelta64) -> np.ndarray:
        """Labels of the `n` bars expected after `last`, (n,) datetime64[ns].

        Raises BadInput where they reach beyond the days whose holidays are known.
        """
        after = _stamps([last], interval)
        slots, (number,), _ = self._locate(after, interval)
        labels = self._labels(slots, np.arange(number, min(number + n + 1, slots.numbers[-1])))
        labels = labels[labels > after][:n]
        if len(labels) < n:
            known = np.datetime_as_string(self.hours.sessions[-1], "D")
            raise BadInput(
                f"{n} bars after {last} reach beyond {known}, the last day known of {self.name}; ask for fewer"
            )
        return labels

    def gap_bars(self, times: np.ndarray, interval: np.timedelta64) -> np.ndarray:
        """How many expected bars are missing between each bar and the one before it, (T,) int64, the first 0."""
        _, number, inside = self._locate(times, interval)
        missing = np.zeros(len(times), np.int64)
        missing[1:] = np.maximum(number[1:] - number[:-1] - inside[:-1], 0)
        return missing

    def session_of(self, times: np.ndarray, interval: np.timedelta64 | None = None) -> np.ndarray:
        """Date of the session that each bar belongs to, (T,) datetime64[D].

        A bar outside all sessions belongs to the next to come, or to none (NaT) after the last known. Bars are daily or
        longer where `interval` says so or, by default, where all times are midnights: these are dates, not instants.
        """
        sessions, dates = self.hours.sessions.astype("datetime64[D]"), times.astype("datetime64[D]")
        if (dates == times).all() if interval is None else interval >= DAY:
            session = np.searchsorted(sessions, dates)
        else:
            stretch, _ = _span_of(self._instants(times), self.hours.opens, self.hours.closes)
            session = np.append(self.hours.session, len(sessions))[stretch]
        return np.append(sessions, np.datetime64("NaT", "D"))[session]

    def opens(self, times: np.ndarray, interval: np.timedelta64 | None = None) -> np.ndarray:
        """Which bars are the first of their session among `times`, (T,) bool; all of them where bars are daily."""
        session = self.session_of(times, interval)
        first = np.ones(len(times), bool)
        first[1:] = session[1:] != session[:-1]
        return first

    def bar_ends(self, times: np.ndarray, interval: np.timedelta64) -> np.ndarray:
        """When each bar is complete, (T,): daily and longer ones at a session's close; NaT outside all sessions."""
        if interval >= DAY:
            slots, number, inside = self._locate(times, interval)
            ends = np.full(len(times), _NEVER)
            ends[inside] = self._closes_in(slots, number[inside])
            return ends
        stretch, inside = _span_of(self._instants(times), self.hours.opens, self.hours.closes)
        close = np.append(self.hours.closes, _NEVER)[stretch]
        return np.where(inside, times if self.label == "end" else np.minimum(times + interval, close), _NEVER)

    def coarser(self, times: np.ndarray, fine: np.timedelta64, coarse: np.timedelta64) -> tuple[np.ndarray, np.ndarray]:
        """Label of the coarse bar in which each fine bar ends, and when that one is complete; NaT outside all sessions.

        Weeks start on Monday, months on the first; other multiples of a day are counted from 1970.
        """
        ends = self.bar_ends(times, fine)
        known = ~np.isnat(ends)
        labels, complete = np.full((2, len(times)), _NEVER)
        slots = self._slots(coarse, np.datetime64("1970-01-01" if coarse % WEEK else "1970-01-05"))
        if coarse < DAY:
            number, _ = slots.locate(ends[known] - _TICK)
            complete[known] = slots.bounds(number)[1]
        else:
            number, _ = slots.locate(self.session_of(times[known], fine).astype("datetime64[ns]"))
            complete[known] = self._closes_in(slots, number)
        labels[known] = self._labels(slots, number)
        return labels, complete

    def _locate(self, times: np.ndarray, interval: np.timedelta64) -> tuple[Slots, np.ndarray, np.ndarray]:
        slots = self._slots(interval, times[0] if len(times) else self.hours.sessions[0])
        return slots, *slots.locate(self._instants(times) if interval < DAY else times)

    def _slots(self, interval: np.timedelta64, anchor: np.datetime64) -> Slots:
        """All expected bars. `anchor`, one of the labels, sets the phase of those longer than a day."""
        if interval <= np.timedelta64(0, "ns") or (interval > DAY and interval % DAY):
            hours = interval / np.timedelta64(1, "h")
            raise BadInput(
                f"bars of {hours:g} h are neither shorter than a day nor whole days; choose such an interval"
            )
        sessions = self.hours.sessions
        if interval < DAY:
            return Slots.of(self.hours.opens, self.hours.closes, interval)
        if interval == DAY:
            return Slots.of(sessions, sessions + DAY, interval)
        edges = _period_edges(anchor.astype("datetime64[D]"), interval, sessions[0], sessions[-1])
        held = np.diff(np.searchsorted(sessions, edges)) > 0
        return Slots.of(edges[:-1][held], edges[1:][held], interval)

    def _instants(self, times: np.ndarray) -> np.ndarray:
        """A moment inside each intraday bar."""
        return times - _TICK if self.label == "end" else times

    def _labels(self, slots: Slots, number: np.ndarray) -> np.ndarray:
        start, end = slots.bounds(number)
        return end if self.label == "end" and slots.interval < DAY else start

    def _closes_in(self, slots: Slots, number: np.ndarray) -> np.ndarray:
        """When the last session that starts in each of these slots closes."""
        session = np.searchsorted(self.hours.sessions, slots.bounds(number)[1]) - 1
        return self.hours.closes[np.searchsorted(self.hours.session, session, "right") - 1]


@dataclass(frozen=True, eq=False)
class NoCalendar(Calendar):
    """Where no calendar is known: sessions are UTC days, only long holes are gaps, and no bar can be foretold."""

    unique_id: str = "this asset"

    def bars_between(self, first: np.datetime64, last: np.datetime64, interval: np.timedelta64) -> np.ndarray:
        return np.empty(0, "datetime64[ns]")

    def next_bars(self, last: np.datetime64, n: int, interval: np.timedelta64) -> np.ndarray:
        raise BadInput(f"no calendar is known for {self.unique_id}; give --calendar, such as XNYS, 24/5 or 24/7")

    def gap_bars(self, times: np.ndarray, interval: np.timedelta64) -> np.ndarray:
        """As of the base class, by the clock; 0 in all pauses of up to HOLE or of a usual few bars."""
        steps = np.diff(times, prepend=times[:1])
        return np.where(steps > max(HOLE, 3 * interval), steps // interval - 1, 0)


def no_calendar(unique_id: str = "this asset") -> Calendar:
    """What stands in where no calendar is known."""
    return NoCalendar("none", hours_of("24/7"), unique_id=unique_id)


def named(name: str) -> Calendar:
    """The calendar "24/7", "24/5", "none", or one that exchange_calendars knows: XNYS, NYSE, …

    Raises BadInput with the nearest names, or where the library cannot build it.
    """
    if name.lower() == "none":
        return no_calendar()
    name = canonical_name(name)
    return Calendar(name, hours_of(name))


def infer(unique_id: str, times: np.ndarray, interval: np.timedelta64 | None = None) -> tuple[Calendar | None, str]:
    """The calendar that the symbol suggests and its bars keep, and a sentence on the choice to print.

    None where the symbol suggests nothing, or where more than one bar and more than 1 % of them do not fit. `interval`
    is by default the usual spacing of the bars.
    """
    guessed = guess(unique_id)
    if guessed is None:
        return None, f"{unique_id} is no symbol whose exchange is known here; --calendar settles it"
    looks = f"{unique_id} looks like {guessed.kind}"
    try:
        interval = bar_interval(times) if interval is None else interval
        calendar, fits = named(guessed.calendar).fit(times, interval)
    except BadInput as error:
        return None, f"{looks}, but {error}"
    misfits = len(times) - int(np.count_nonzero(fits))
    if misfits > max(1, MISFITS * len(times)):
        return None, f"{looks}, but {_misfit(calendar, times, fits)}"
    labelled = f", bars stamped at their {calendar.label}" if interval < DAY else ""
    return calendar, f"{looks}: calendar {calendar.name}{labelled}"


def _misfit(calendar: Calendar, times: np.ndarray, fits: np.ndarray) -> str:
    known = calendar.hours.sessions[[0, -1]]
    if times.min() < known[0] or times.max() >= known[1] + DAY:
        first, last = np.datetime_as_string(known, "D")
        return f"{calendar.name} is known from {first} to {last} only; leave other bars out, or do without a calendar"
    example = np.datetime_as_string(times[np.argmin(fits)], "m").replace("T", " ")
    share = f"{1 - fits.mean():.2%} of its bars"
    return f"{share} are at no bar time of {calendar.name}, such as {example} UTC; --calendar settles it"


def bar_interval(times: np.ndarray) -> np.timedelta64:
    """The commonest spacing of bars in any order, in ns: nights, weekends and gaps are rarer. A month is 30 days.

    Bars of hours that the close or lunch cuts short, such as two a day, may seem as short as those.
    Raises BadInput with fewer than two different times.
    """
    steps = np.diff(np.sort(times)).astype("timedelta64[ns]")
    spacing, count = np.unique(steps[steps > np.timedelta64(0, "ns")], return_counts=True)
    if not len(spacing):
        raise BadInput("fewer than two bars have no spacing; give a longer history")
    usual = spacing[np.argmax(count)]
    return (usual if usual < 28 * DAY else round(usual / MONTH) * MONTH).astype("timedelta64[ns]")


def completed(times: np.ndarray, interval: np.timedelta64, calendar: Calendar) -> np.ndarray:
    """When each bar's close is known, (T,) datetime64[ns]: what splits and cut-offs go by, whatever the stamps say.

    An intraday bar ends as the calendar says or, outside its sessions and without a calendar, one interval after its
    stamp. A daily bar keeps its date, and a longer one gets the date of its last day.
    """
    if interval == DAY:
        return times
    if interval > DAY:
        return _last_days(times.astype("datetime64[D]"), interval).astype("datetime64[ns]")
    ends = calendar.bar_ends(times, interval) if calendar.name != "none" else np.full(len(times), _NEVER)
    return np.maximum.accumulate(np.where(np.isnat(ends), times + interval, ends))


def _last_days(stamps: np.ndarray, interval: np.timedelta64) -> np.ndarray:
    """The last day of each bar of several days, (T,) datetime64[D].

    Stamps are last days themselves if most of them are Fridays, Saturdays or among the last three days of a month, as
    no first day of a week or month is. Else the day before the next bar's stamp is the last.
    """
    if interval % MONTH:
        following = stamps + interval.astype("timedelta64[D]")
        stamped_last = (interval % WEEK == np.timedelta64(0)) & np.isin((stamps.view(np.int64) + 3) % 7, (4, 5))
    else:
        month = stamps.astype("datetime64[M]")
        following = (month + interval // MONTH * ONE_MONTH).astype("datetime64[D]") + (stamps - month)
        stamped_last = (month + ONE_MONTH).astype("datetime64[D]") - stamps <= 3 * DAY
    return stamps if stamped_last.mean() > 0.5 else following - DAY


def _stamps(times: list[np.datetime64], interval: np.timedelta64) -> np.ndarray:
    return np.array(times, "datetime64[ns]" if interval < DAY else "datetime64[D]").astype("datetime64[ns]")


def _span_of(instants: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The span that holds each instant, or else the next to come; and whether it is held."""
    span = np.searchsorted(ends, instants, "right")
    return span, instants >= np.append(starts, _NEVER)[span]


def _period_edges(
    anchor: np.datetime64, interval: np.timedelta64, first: np.datetime64, last: np.datetime64
) -> np.ndarray:
    """Edges of back-to-back periods in the phase of the date `anchor` that cover `first` to `last`.

    An anchor at the end of its month makes month ends of all of them.
    """
    if interval % MONTH:
        steps = np.arange((first - anchor) // interval, (last - anchor) // interval + 2)
        return (anchor + steps * interval).astype("datetime64[ns]")
    month, months = anchor.astype("datetime64[M]"), interval // MONTH
    low, high = ((day.astype("datetime64[M]") - month).astype(int) // months for day in (first, last))
    month_starts = month + np.arange(low - 1, high + 2) * months
    month_ends = (month_starts + ONE_MONTH).astype("datetime64[D]") - DAY
    if anchor == (month + ONE_MONTH).astype("datetime64[D]") - DAY:
        return month_ends.astype("datetime64[ns]")
    return np.minimum(month_starts.astype("datetime64[D]") + (anchor - month), month_ends).astype("datetime64[ns]")
