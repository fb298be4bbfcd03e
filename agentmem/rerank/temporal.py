"""The times that a query speaks of, as intervals in UTC: dates, months, years, weekdays, words such as "last week"."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Literal

SpanKind = Literal["day", "week", "month", "year"]

YEARS_BACK = 10
"""A month without a year means that month of any of the last ten years: memories rarely reach further back."""

_MONTHS = (
    ("january", "jan"),
    ("february", "feb"),
    ("march", "mar"),
    ("april", "apr"),
    ("may",),
    ("june", "jun"),
    ("july", "jul"),
    ("august", "aug"),
    ("september", "sept", "sep"),
    ("october", "oct"),
    ("november", "nov"),
    ("december", "dec"),
)
_MONTH_NUMBER = {name: number for number, names in enumerate(_MONTHS, 1) for name in names}
_WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_COUNTS = {"a": 1, "an": 1, "one": 1, "two": 2, "couple": 2, "three": 3, "few": 3, "four": 4, "five": 5, "six": 6}

_ANY_MONTH = "(" + "|".join(sorted(_MONTH_NUMBER, key=len, reverse=True)) + ")"
_SURE_MONTH = "|".join(names[0] for names in _MONTHS if names[0] not in ("march", "may"))
_ORDINAL = r"(\d{1,2})(?:st|nd|rd|th)?"
_COUNT = r"(\d{1,3}|" + "|".join(_COUNTS) + ")"


@dataclass(frozen=True, slots=True)
class TimeSpan:
    """One stretch of time that a query names.

    Attributes:
        start: epoch seconds, UTC, included.
        end: epoch seconds, UTC, excluded.
        kind: how precise the words were: "day", "week", "month" or "year".
    """

    start: float
    end: float
    kind: SpanKind


def _midnight(now: datetime) -> datetime:
    return now.replace(hour=0, minute=0, second=0, microsecond=0)


def _span(start: datetime, end: datetime, kind: SpanKind) -> TimeSpan:
    return TimeSpan(start.timestamp(), end.timestamp(), kind)


def _days(start: datetime, count: int, kind: SpanKind) -> TimeSpan:
    return _span(start, start + timedelta(days=count), kind)


def _month(year: int, month: int) -> TimeSpan:
    start = datetime(year, month, 1, tzinfo=timezone.utc)
    return _span(start, datetime(year + month // 12, month % 12 + 1, 1, tzinfo=timezone.utc), "month")


def _year(year: int) -> TimeSpan:
    return _span(datetime(year, 1, 1, tzinfo=timezone.utc), datetime(year + 1, 1, 1, tzinfo=timezone.utc), "year")


def _recent_years(now: datetime) -> range:
    return range(now.year, now.year - YEARS_BACK, -1)


def _day(year: str | None, month: int, day: int, now: datetime) -> list[TimeSpan]:
    """Return the day, of every recent year where none is named; an impossible date (31 June) gives nothing."""
    spans = []
    for candidate in [int(year)] if year else _recent_years(now):
        try:
            spans.append(_days(datetime(candidate, month, day, tzinfo=timezone.utc), 1, "day"))
        except ValueError:
            continue
    return spans


def _iso(match: re.Match[str], now: datetime) -> list[TimeSpan]:
    return _day(match[1], int(match[2]), int(match[3]), now)


def _day_month(match: re.Match[str], now: datetime) -> list[TimeSpan]:
    return _day(match[3], _MONTH_NUMBER[match[2]], int(match[1]), now)


def _month_day(match: re.Match[str], now: datetime) -> list[TimeSpan]:
    return _day(match[3], _MONTH_NUMBER[match[1]], int(match[2]), now)


def _month_year(match: re.Match[str], now: datetime) -> list[TimeSpan]:
    return [_month(int(match[2]), _MONTH_NUMBER[match[1]])]


def _month_alone(match: re.Match[str], now: datetime) -> list[TimeSpan]:
    month = _MONTH_NUMBER[match[1] or match[2]]
    return [_month(year, month) for year in _recent_years(now)]


def _year_alone(match: re.Match[str], now: datetime) -> list[TimeSpan]:
    return [_year(int(match[1]))]


def _ago(match: re.Match[str], now: datetime) -> list[TimeSpan]:
    count, today = int(match[1]) if match[1].isdigit() else _COUNTS[match[1]], _midnight(now)
    if match[2] == "day":
        return [_days(today - timedelta(days=count), 1, "day")]
    if match[2] == "week":
        return [_days(today - timedelta(days=7 * count + 3), 7, "week")]
    if match[2] == "month":
        return [_month(*_months_before(now, count))]
    return [_year(now.year - count)]


def _past_count(match: re.Match[str], now: datetime) -> list[TimeSpan]:
    count = int(match[1]) if match[1].isdigit() else _COUNTS[match[1]]
    days = count * {"day": 1, "week": 7, "month": 30, "year": 365}[match[2]]
    kind: SpanKind = "week" if days <= 14 else "month" if days <= 92 else "year"
    return [_days(_midnight(now) - timedelta(days=days), days + 1, kind)]


def _months_before(now: datetime, count: int) -> tuple[int, int]:
    index = now.year * 12 + now.month - 1 - count
    return index // 12, index % 12 + 1


def _named_unit(match: re.Match[str], now: datetime) -> list[TimeSpan]:
    """Return "last week", "this month" and their like."""
    back = 0 if match[1] == "this" else 1
    if match[2] == "week":
        monday = _midnight(now) - timedelta(days=now.weekday() + 7 * back)
        return [_days(monday, 7, "week")]
    if match[2] == "month":
        return [_month(*_months_before(now, back))]
    return [_year(now.year - back)]


def _near_day(match: re.Match[str], now: datetime) -> list[TimeSpan]:
    back = {"yesterday": 1, "last night": 1, "day before yesterday": 2}.get(match[1], 0)
    return [_days(_midnight(now) - timedelta(days=back), 1, "day")]


def _weekday(match: re.Match[str], now: datetime) -> list[TimeSpan]:
    """Return the most recent day of that name before today, as memories lie in the past."""
    back = (now.weekday() - _WEEKDAYS.index(match[1])) % 7 or 7
    return [_days(_midnight(now) - timedelta(days=back), 1, "day")]


_YEAR = r"((?:19|20)\d{2})"
_TABLE: tuple[tuple[re.Pattern[str], Callable[[re.Match[str], datetime], list[TimeSpan]]], ...] = tuple(
    (re.compile(rf"\b{pattern}\b"), reader)
    for pattern, reader in (
        (_YEAR + r"-(\d{2})-(\d{2})", _iso),
        (_ORDINAL + r"\s+(?:of\s+)?" + _ANY_MONTH + r"\.?(?:,?\s*" + _YEAR + ")?", _day_month),
        (_ANY_MONTH + r"\.?\s+" + _ORDINAL + r"(?:\s*,?\s*" + _YEAR + ")?", _month_day),
        (_ANY_MONTH + r"\.?,?\s+(?:of\s+)?" + _YEAR, _month_year),
        (rf"(?:({_SURE_MONTH})|(?:(?<=in )|(?<=last ))(march|may))", _month_alone),
        (r"(?:a\s+)?" + _COUNT + r"(?:\s+of)?\s+(day|week|month|year)s?\s+ago", _ago),
        (r"(?:last|past|previous)\s+" + _COUNT + r"\s+(day|week|month|year)s?", _past_count),
        (r"(last|past|previous|this)\s+(week|month|year)", _named_unit),
        (r"(day before yesterday|yesterday|last night|today|tonight|this morning|this afternoon)", _near_day),
        (r"(?:last\s+|on\s+|this\s+)?(" + "|".join(_WEEKDAYS) + ")", _weekday),
        (_YEAR, _year_alone),
    )
)
_UNITS = ("day", "days", "week", "weeks", "month", "months", "year", "years")
_NEAR = ("yesterday", "today", "tonight", "night", "morning", "afternoon")
_TELLING = frozenset((*_UNITS, *_NEAR, *_WEEKDAYS, *(names[0] for names in _MONTHS)))


def may_name_times(words: Collection[str]) -> bool:
    """Say whether ``parse_times`` might find something: a word of time, a digit, or a letter that is not plain.

    Args:
        words: the query's runs of letters and digits, folded.
    """
    every = "".join(words)
    return not _TELLING.isdisjoint(words) or not (every.isalpha() and every.isascii())


def parse_times(text: str, now: float) -> tuple[TimeSpan, ...]:
    """Return the intervals that a query's words name, precise ones before vague ones.

    Words are matched without regard to case.  "march" and "may" alone count as months only behind "in" or "last"; a
    month or a day without a year stands for every recent year's; a weekday is the last one before ``now``.

    Args:
        text: the query.
        now: epoch seconds to which "yesterday", "last week" and their like refer.
    """
    lowered = text.lower()
    moment = datetime.fromtimestamp(now, timezone.utc)
    spans: list[TimeSpan] = []
    for pattern, reader in _TABLE:
        matches = list(pattern.finditer(lowered))
        for match in matches:
            spans.extend(reader(match, moment))
        if matches:
            lowered = pattern.sub(" ; ", lowered)
    return tuple(spans)
