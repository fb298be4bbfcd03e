"""docs/simulation.md: every row of its tables of figures is what the committed results give."""

import json
from pathlib import Path

import pytest

from agentmem.simulation.study import summary
from agentmem.simulation.study.report import markdown

ROOT = Path(__file__).parents[2]
PAGE, RESULTS = ROOT / "docs" / "simulation.md", ROOT / "benchmarks" / "results" / "simulation.json"


@pytest.fixture(scope="module")
def reports():
    return [summary(study["head"], study["lines"]) for study in json.loads(RESULTS.read_text("utf-8"))["studies"]]


def test_every_row_of_figures_is_in_a_report(reports):
    known = {line for report in reports for line in markdown(report).splitlines()}
    rows = [line for line in PAGE.read_text("utf-8").partition("<!-- measured -->")[2].splitlines() if line[:1] == "|"]
    assert len(rows) > 50
    assert [row for row in rows if row not in known] == []


def test_results_hold_neither_texts_nor_vectors():
    def strings(value):
        if isinstance(value, dict):
            for name, each in value.items():
                yield name
                yield from strings(each)
        elif isinstance(value, list):
            assert len(value) < 100
            for each in value:
                yield from strings(each)
        elif isinstance(value, str):
            yield value

    for study in json.loads(RESULTS.read_text("utf-8"))["studies"]:
        for line in study["lines"]:
            assert all(len(each) < 40 for each in strings(line))
