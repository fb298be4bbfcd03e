"""A folder of results: taken up where it was left, on processes or on Ray; and what its report says."""

import json
import os
import re
from dataclasses import replace

import pytest
from study_kit import DIM, small_set

from agentmem.errors import InvalidInput, MissingExtra
from agentmem.simulation.study import (
    Corpus,
    Shape,
    Study,
    corpus_of,
    embedded,
    grid,
    measure_one,
    running,
    searched,
    shapes,
    summary,
)
from agentmem.simulation.study.plots import PLOTS, draw
from agentmem.simulation.study.published import judged
from agentmem.simulation.study.report import DEFINITIONS, markdown, shown
from agentmem.simulation.study.summary import FIGURES, chosen, spread

SHAPES = shapes((1, 2), (8,), (1,), (0.0,))
CORPORA = (Corpus(0, DIM), Corpus(200, 2 * DIM))
TIMES = ("latency_us", "seconds")


def untimed(lines):
    return {line["key"]: {name: value for name, value in line.items() if name not in TIMES} for line in lines}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A folder in which two shapes were run on two corpora with two seeds, by two processes."""
    made = Study(tmp_path_factory.mktemp("study"), embedded(small_set()), embedded(small_set(seed=1)).part("test"))
    made.run(grid(SHAPES, CORPORA, 2), workers=2)
    return made


def test_every_configuration_is_one_line(study):
    every = grid(SHAPES, CORPORA, 2)
    lines = (study.folder / "results.jsonl").read_text().splitlines()
    assert sorted(json.loads(line)["key"] for line in lines) == sorted(each.key for each in every)
    assert all(json.loads(line)["transfer"]["ndcg@10"]["before"] > 0 for line in lines)


def test_processes_measure_what_this_process_does(study):
    one = grid(SHAPES, CORPORA[:1], 1)[1]
    other = searched(corpus_of(embedded(small_set(seed=1)).part("test"), CORPORA[0]))
    here = measure_one(one, searched(corpus_of(embedded(small_set()), CORPORA[0])), other)
    expected = untimed([json.loads(json.dumps(here))])[one.key]
    found = untimed(study.lines)[one.key]
    assert found.keys() == expected.keys()
    assert found["convergence_epochs"] == expected["convergence_epochs"]
    assert found["dev_losses"] == pytest.approx(expected["dev_losses"], rel=1e-3)
    assert found["weights"] == pytest.approx(expected["weights"], rel=1e-2)


def test_what_is_there_is_not_run_again(tmp_path, monkeypatch):
    made = Study(tmp_path, embedded(small_set()))
    asked = []

    def measured(tasks, workers):
        for configuration, path, other in tasks:
            assert path.exists()
            assert other is None
            asked.append(configuration.key)
            yield {"key": configuration.key}

    monkeypatch.setattr(running, "_on_cores", measured)
    every = grid(SHAPES, CORPORA[:1], 2)
    made.run(every[:3], workers=2)
    results = tmp_path / "results.jsonl"
    results.write_text(results.read_text()[:-5])
    made = Study(tmp_path, embedded(small_set()))
    assert [line["key"] for line in made.lines] == [each.key for each in every[:2]]
    made.run(every, workers=2)
    assert asked == [each.key for each in [*every[:3], *every[2:]]]
    assert [line["key"] for line in made.lines] == [each.key for each in every]
    made.run(every, workers=2)
    assert len(asked) == 5


def test_results_are_kept_when_a_later_one_fails(tmp_path, monkeypatch):
    def failing(tasks, workers):
        yield {"key": tasks[0][0].key}
        raise OSError("the disk is full")

    monkeypatch.setattr(running, "_on_cores", failing)
    made = Study(tmp_path, embedded(small_set()))
    with pytest.raises(OSError, match="full"):
        made.run(grid(SHAPES, CORPORA[:1], 1), workers=1)
    assert len(made.lines) == 1


def test_a_folder_holds_one_study(tmp_path):
    dataset = embedded(small_set())
    Study(tmp_path, dataset)
    Study(tmp_path, dataset)
    for other in (embedded(small_set(seed=1)), replace(dataset, name="another")):
        with pytest.raises(InvalidInput, match="other data"):
            Study(tmp_path, other)
    with pytest.raises(InvalidInput, match="other data"):
        Study(tmp_path, dataset, embedded(small_set(seed=1)))


def test_a_set_without_a_split_is_refused(tmp_path):
    dataset = embedded(small_set())
    with pytest.raises(InvalidInput, match="'dev'"):
        Study(tmp_path, dataset.take([row for row, query in enumerate(dataset.queries) if query.split != "dev"]))


def test_the_environment_is_left_as_it_was(study, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    with running._environment(running.ONE_THREAD):
        assert os.environ["OMP_NUM_THREADS"] == os.environ["MKL_NUM_THREADS"] == "1"
    assert os.environ["OMP_NUM_THREADS"] == "7"
    assert "MKL_NUM_THREADS" not in os.environ


def test_ray_gives_the_same_results(study, tmp_path):
    pytest.importorskip("ray", reason="ray is not installed")
    made = Study(tmp_path, embedded(small_set()), embedded(small_set(seed=1)).part("test"))
    made.run(grid(SHAPES, CORPORA[:1], 1), workers=1, ray_address="local")
    mine, theirs = untimed(made.lines), untimed(study.lines)
    assert len(mine) == 2
    assert all(mine[key] == theirs[key] for key in mine)


def test_without_ray_the_error_names_the_command(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    made = Study(tmp_path, embedded(small_set()))
    with pytest.raises(MissingExtra, match=re.escape('pip install "agentmem[ray]"')):
        made.run(grid(SHAPES, CORPORA[:1], 1), workers=1, ray_address="auto")


def test_spread_by_hand():
    assert spread([1.0, None, 3.0]) == {"mean": 2, "sd": pytest.approx(2**0.5), "cv": pytest.approx(2**0.5 / 2)}
    assert spread([-2.0]) == {"mean": -2, "sd": None, "cv": None}
    assert spread([None]) == {"mean": None, "sd": None, "cv": None}
    assert spread([-1.0, 1.0])["cv"] is None
    assert spread([0.1, 0.1, 0.1])["sd"] == 0


def test_the_summary_takes_means_over_seeds(study):
    report = summary(study.head, study.lines)
    assert len(report["configurations"]) == 4
    first = report["configurations"][0]
    lines = [line for line in study.lines if line["key"].startswith(f"{first['corpus']}/{first['shape']}/")]
    assert first["seeds"] == len(lines) == 2
    assert first["figures"].keys() == FIGURES.keys()
    assert first["figures"]["ndcg_change"]["mean"] == pytest.approx(
        sum(line["ndcg@10"]["change"] for line in lines) / 2
    )
    assert first["figures"]["latency_ms"]["mean"] == pytest.approx(
        sum(each["latency_us"]["total"] for each in lines) / 2e3
    )
    assert first["verdicts"]["diversity"] == "–"


def test_the_shape_is_chosen_on_dev_where_most_were_run():
    def one(shape, corpus, dev):
        return {"shape": shape, "corpus": corpus, "dev_ndcgs": [0.1, dev, 0.2]}

    few = [one("a", "large", 0.9)]
    many = [one("a", "small", 0.3), one("b", "small", 0.5), one("c", "small", 0.4)]
    assert chosen(few + many) == {"shape": "b", "corpus": "small"}


@pytest.mark.parametrize(
    ("measured", "published", "verdict"),
    [(0.1, 0.12, "agrees"), (0.09, 0.12, "lower"), (0.2, 0.12, "higher"), (-0.1, 0.12, "lower"), (None, 1, "not run")],
)
def test_a_published_figure_is_judged(measured, published, verdict):
    assert judged(measured, published) == verdict


def test_published_figures_are_held_against_the_nearest_corpus(study):
    line = next(line for line in study.lines if line["dimension"] == DIM)
    lines = [line | {"heads": 8, "hidden": 256, "layers": 3, "dropout": 0.1, "vectors": size} for size in (9, 90_000)]
    claims = summary(study.head, lines)["published"]
    held = next(each for each in claims if (each["figure"], each["shape"]) == ("gini", "8h-256d-3L-0.1"))
    assert held["measured"] == line["weights"]["gini"]
    assert (held["published"], held["measured_on"]) == (0.34, f"90000x{DIM}")
    wide = next(each for each in claims if each["corpus"] == "100000x768" and each["shape"] == "8h-256d-3L-0.1")
    assert (wide["measured"], wide["verdict"]) == (None, "not run")


def test_figures_as_people_read_them():
    assert shown("ndcg_change", 0.1234) == "+12.3%"
    assert shown("sparsity", 0.1234) == "12.3%"
    assert shown("cv:ndcg_change", 0.02) == "2.0%"
    assert shown("latency_ms", 4.8123) == "4.81"
    assert shown("bytes_a_vector", 12345.0) == "12,345"
    assert shown("gini", None) == "–"


def test_the_page_shows_every_configuration_and_every_published_figure(study):
    report = summary(study.head, study.lines)
    page = markdown(report)
    for each in report["configurations"]:
        assert re.search(rf"^\| {each['corpus']} \| {each['shape']} \| 2 \|", page, re.M)
    assert f"{len(report['published'])} are of shapes or widths that were not run" in page
    assert page.rstrip().endswith(DEFINITIONS.rstrip())
    assert "0.68" in page
    for name in PLOTS:
        assert f"({name}.png)" in page
    rows = [line for line in page.splitlines() if line.startswith("|")]
    assert rows
    assert all(line.endswith("|") for line in rows)


def test_plots_are_pictures_of_some_size(study, tmp_path):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    paths = draw(summary(study.head, study.lines), tmp_path)
    assert {path.stem for path in paths} == set(PLOTS)
    for path in paths:
        assert path.read_bytes().startswith(b"\x89PNG")
        assert path.stat().st_size > 10_000


def test_plots_without_matplotlib_name_the_command(study, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    with pytest.raises(MissingExtra, match=re.escape('pip install "agentmem[simulate]"')):
        draw(summary(study.head, study.lines), tmp_path)


def test_shapes_are_named_in_the_order_of_the_published_study():
    assert str(Shape(8, 256, 3, 0.0)) == "8h-256d-3L-0"


def test_the_report_counts_the_runs_of_every_corpus(study):
    """Means over the shapes, as many as there are, and deviations over the seeds, of one shape and of all."""
    report = summary(study.head, study.lines)
    text = markdown(report)
    for corpus in CORPORA:
        mine = [each for each in report["configurations"] if each["corpus"] == str(corpus)]
        row = next(line for line in text.partition("## All shapes")[2].splitlines() if line.startswith(f"| {corpus} "))
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        gains = [each["figures"]["ndcg_change"]["mean"] for each in mine]
        assert cells[1:3] == ["2", "4"]
        assert cells[4:6] == [f"{sum(gains) / 2:+.1%}", f"{min(gains):+.1%} to {max(gains):+.1%}"]
        deviation = sum(each["figures"]["ndcg_change"]["sd"] for each in mine) / 2
        assert re.search(rf"\| 2 shapes, mean at {corpus} \| ndcg change \| 2 \| .* \| {deviation:.1%} \|", text)
