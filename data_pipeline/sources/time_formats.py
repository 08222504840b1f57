"""How dates and times of day look, and strptime's formats for them."""

from __future__ import annotations

import re
from collections.abc import Sequence

COMPACT_DATE = r"(?:19|20)\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])"
ZONE = r"(?:Z|[+-]\d\d(?::?\d\d)?)"
ZONE_WORDS = ((r" ?(?:UTC|GMT)(?=[+-])", ""), (r" ?(?:UTC|GMT)$", "Z"))  # and what strptime reads instead
_DATES = (  # how a date looks, and the formats it may be in: two where it does not say which
    (r"\d{4}-\d{1,2}-\d{1,2}", ("%Y-%m-%d",)),
    (r"\d{4}/\d{1,2}/\d{1,2}", ("%Y/%m/%d",)),
    (r"\d{4}\.\d{1,2}\.\d{1,2}", ("%Y.%m.%d",)),
    (COMPACT_DATE, ("%Y%m%d",)),
    (r"\d{1,2}/\d{1,2}/\d{4}", ("%d/%m/%Y", "%m/%d/%Y")),
    (r"\d{1,2}-\d{1,2}-\d{4}", ("%d-%m-%Y", "%m-%d-%Y")),
    (r"\d{1,2}\.\d{1,2}\.\d{4}", ("%d.%m.%Y", "%m.%d.%Y")),
    (r"\d{1,2} [A-Za-z]{3,9} \d{4}", ("%d %b %Y", "%d %B %Y")),
    (r"\d{1,2}-[A-Za-z]{3,9}-\d{4}", ("%d-%b-%Y", "%d-%B-%Y")),
    (r"\d{1,2}-[A-Za-z]{3}-\d{2}", ("%d-%b-%y",)),
    (r"[A-Za-z]{3,9} \d{1,2}, \d{4}", ("%b %d, %Y", "%B %d, %Y")),
    (r"\d{1,2}[/.-]\d{1,2}[/.-]\d{2}", ()),  # which of them is the year? the user has to say
)
_CLOCK = re.compile(r"(\d{1,2})(:\d{2})?(:\d{2})?(\.\d+)?([ -]?)([AaPp][Mm])?")
_TAIL = rf"(?:([ T,]+|(?<=\d{{8}}))(\d[\d:. -]*?(?:[AaPp][Mm])?))?( ?{ZONE})?"
_MIDNIGHT = re.compile(r"[T ]+0{1,2}:00(?::00)?$")


def are_dates(cells: Sequence[str]) -> bool:
    """Whether every cell is written like a date, with or without a time of day."""
    return bool(cells) and all(stamp_formats(cell.strip()) for cell in cells)


def are_days(cells: Sequence[str]) -> bool:
    """Whether every cell is a date without a time of day, or with midnight."""
    days = [_MIDNIGHT.sub("", cell.strip()) for cell in cells]
    return bool(days) and all(any(re.fullmatch(pattern, day) for pattern, _ in _DATES) for day in days)


def are_clocks(cells: Sequence[str]) -> bool:
    """Whether every cell is a time of day, like 09:30, 9:30 AM or 093000 (which numbers may have shortened)."""
    return bool(cells) and all(re.fullmatch(r"\d{1,6}", cell.strip()) or clock_format(cell.strip()) for cell in cells)


def clock_format(clock: str) -> str | None:
    """strptime's format of a time of day, None where it is none."""
    if re.fullmatch(r"\d{4}|\d{6}", clock):
        return "%H%M%S"[: len(clock)]
    found = _CLOCK.fullmatch(clock)
    if not found or not (found[2] or found[6]) or (found[5] and not found[6]):
        return None
    codes = zip(found.groups()[1:4], (":%M", ":%S", ".%f"), strict=True)
    smaller = "".join(code for part, code in codes if part)
    return f"%I{smaller}{found[5]}%p" if found[6] else f"%H{smaller}"


def stamp_formats(stamp: str) -> list[str]:
    """strptime's formats that a date with or without a time of day may be in; none where it is no date."""
    for words, sign in ZONE_WORDS:
        stamp = re.sub(words, sign, stamp)
    for pattern, formats in _DATES:
        found = re.fullmatch(pattern + _TAIL, stamp)
        clock = clock_format(found[2]) if found and found[2] else ""
        if found and clock is not None:
            zone = re.sub(r"\S+", "%z", found[3] or "")
            return [f"{date}{found[1] or ''}{clock}{zone}" for date in formats]
    return []
