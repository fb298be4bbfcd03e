"""The time words of queries, against calendars looked up by hand."""

from __future__ import annotations

import re
from datetime import datetime, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentmem.rerank.temporal import YEARS_BACK, may_name_times, parse_times

NOW = datetime(2023, 8, 16, 12, tzinfo=timezone.utc).timestamp()  # a Wednesday


def day(moment):
    return datetime.fromtimestamp(moment, timezone.utc).strftime("%Y-%m-%d")


def spans(text):
    return [(day(span.start), day(span.end), span.kind) for span in parse_times(text, NOW)]


@pytest.mark.parametrize(
    ("text", "start", "end", "kind"),
    [
        ("on 2022-02-25", "2022-02-25", "2022-02-26", "day"),
        ("on 25 February, 2022", "2022-02-25", "2022-02-26", "day"),
        ("the 7th of May 2023", "2023-05-07", "2023-05-08", "day"),
        ("shared on December 1,2023", "2023-12-01", "2023-12-02", "day"),
        ("on Sept. 3rd, 2021", "2021-09-03", "2021-09-04", "day"),
        ("in May 2023", "2023-05-01", "2023-06-01", "month"),
        ("December of 2022", "2022-12-01", "2023-01-01", "month"),
        ("back in 2021", "2021-01-01", "2022-01-01", "year"),
        ("yesterday", "2023-08-15", "2023-08-16", "day"),
        ("Today", "2023-08-16", "2023-08-17", "day"),
        ("the day before yesterday", "2023-08-14", "2023-08-15", "day"),
        ("last week", "2023-08-07", "2023-08-14", "week"),
        ("this week", "2023-08-14", "2023-08-21", "week"),
        ("last month", "2023-07-01", "2023-08-01", "month"),
        ("last year", "2022-01-01", "2023-01-01", "year"),
        ("3 days ago", "2023-08-13", "2023-08-14", "day"),
        ("a couple of weeks ago", "2023-07-30", "2023-08-06", "week"),
        ("nine months ago", None, None, None),
        ("8 months ago", "2022-12-01", "2023-01-01", "month"),
        ("two years ago", "2021-01-01", "2022-01-01", "year"),
        ("the last 3 days", "2023-08-13", "2023-08-17", "week"),
        ("on Tuesday", "2023-08-15", "2023-08-16", "day"),
        ("last Wednesday", "2023-08-09", "2023-08-10", "day"),
        ("Sunday", "2023-08-13", "2023-08-14", "day"),
    ],
)
def test_words_name_stretches_of_time(text, start, end, kind):
    assert spans(text) == ([(start, end, kind)] if start else [])


def test_a_month_or_a_day_without_a_year_stands_for_every_recent_year():
    october = spans("What did Evan paint in October?")
    assert len(october) == YEARS_BACK
    assert october[0] == ("2023-10-01", "2023-11-01", "month")
    assert spans("on 4 July")[1] == ("2022-07-04", "2022-07-05", "day")


@pytest.mark.parametrize(
    "text", ["may I march on?", "31 June 2022", "room 1234", "a sunny daydream", "", "version 20231"]
)
def test_words_that_name_no_time(text):
    assert spans(text) == []


def test_march_and_may_behind_a_preposition_are_months():
    assert spans("in may")[0] == ("2023-05-01", "2023-06-01", "month")
    assert spans("last March")[0] == ("2023-03-01", "2023-04-01", "month")


def test_several_times_in_one_query():
    assert len(spans("between 3 May 2021 and 2 June 2022")) == 2


def test_a_leap_day_exists_only_in_leap_years():
    assert [start for start, _, _ in spans("29 February")] == ["2020-02-29", "2016-02-29"]


@given(text=st.text(max_size=60), now=st.floats(0, 4e9))
def test_any_text_gives_ordered_spans(text, now):
    assert all(span.start < span.end for span in parse_times(text, now))


@given(count=st.integers(0, 999), unit=st.sampled_from(["day", "week", "month", "year"]), now=st.floats(0, 4e9))
def test_counts_of_any_size_lie_in_the_past(count, unit, now):
    (span,) = parse_times(f"{count} {unit}s ago", now)
    assert span.start <= now


WORDS = [
    "last",
    "on",
    "in",
    "may",
    "May",
    "march",
    "yesterday",
    "3",
    "2022-02-25",
    "days",
    "ago",
    "week",
    "İtoday",
    "_may",
    "may_",
    "railway",
    "now",
    "monday",
    "ſunday",
]


@given(st.lists(st.sampled_from(WORDS), max_size=5), st.sampled_from([" ", "_", ", "]))
def test_words_that_may_name_no_time_name_none(words, between):
    text = between.join(words)
    if not may_name_times({word.casefold() for word in re.findall(r"[^\W_]+", text)}):
        assert parse_times(text, NOW) == ()


@pytest.mark.parametrize("words", [("railway", "museum"), ("maybe", "birthday", "decade")])
def test_most_queries_name_no_time(words):
    assert not may_name_times(words)
