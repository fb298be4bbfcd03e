"""The documents say what the code does: their examples run, and what is taken from the code is the same there."""

import ast
import importlib.util
import inspect
import itertools
import json
import re
import textwrap
from pathlib import Path

import pytest

import agentmem
from agentmem import errors
from agentmem.attention import docs as mechanisms
from agentmem.attention import registry
from agentmem.cli.docs import document
from agentmem.storage import filters

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
# Shared by the verbs, not meant for callers.
INTERNAL = {"snapshot", "merge_if_due"}
RUN = ["README.md"] + [f"docs/{page}.md" for page in ("attention", "guide", "filters", "hooks", "learning")]


def read(name):
    """Return a document's text."""
    return (ROOT / name).read_text(encoding="utf-8")


def blocks(text, language):
    """Return (line, code) of each fenced block of a language."""
    found = re.finditer(rf"^```{language}\n(.*?)^```$", text, re.M | re.S)
    return [(text[: match.start()].count("\n") + 1, match[1]) for match in found]


@pytest.mark.parametrize("name", RUN)
def test_python_blocks_run(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for held in ("_mechanisms", "_custom"):
        monkeypatch.setattr(registry, held, dict(getattr(registry, held)))
    namespace = {"__name__": "__docs__"}
    code = blocks(read(name), "python")
    assert code
    for line, source in code:
        tree = ast.increment_lineno(ast.parse(source), line)
        exec(compile(tree, ROOT / name, "exec"), namespace)


def test_the_quick_start_has_ten_lines():
    assert len([line for line in blocks(read("README.md"), "python")[0][1].splitlines() if line]) <= 10


@pytest.mark.parametrize("name", ["demo", "test"])
def test_the_readme_has_its_commands(name):
    found = re.findall(rf"<!-- command: {name} -->\n```sh\n(.*?)\n```", read("README.md"), re.S)
    assert len(found) == 1
    assert "\n" not in found[0]
    assert "venv" in found[0]


def test_the_command_line_page_is_what_help_says():
    def words(text):
        return text.split()

    assert words(read("docs/cli.md")) == words(document())


def test_the_page_of_mechanisms_is_what_their_declarations_say():
    measured = json.loads(read("benchmarks/results/mechanisms.json"))
    assert read("docs/mechanisms.md") == mechanisms.document(measured)
    assert set(re.findall(r"^### (\S+)$", read("docs/mechanisms.md"), re.M)) == set(registry.list())


def rest_rows(text):
    """Return the rows of a simple reStructuredText table as (left, right), continuation lines joined."""
    rows = []
    for body in re.findall(r"^=+ +=+\n(.*?)^=+ +=+$", text, re.M | re.S):
        width = 39
        for line in body.splitlines():
            left, right = line[:width].strip(), line[width:].strip()
            if left:
                rows.append([left, right])
            else:
                rows[-1][1] += f" {right}"
    return [(plain(left), plain(right)) for left, right in rows]


def markdown_rows(text):
    """Return the rows of all two-column tables of a page, without the heads."""
    rows = []
    for table in re.findall(r"^\|[^\n]*\|\n\|(?:---\|)+\n((?:^\|.*\|\n)+)", text, re.M):
        rows += [tuple(plain(cell) for cell in line.strip("|").split(" | ")) for line in table.splitlines()]
    return rows


def table_below(text, head):
    """Return the lines of the table whose first column is headed by a word."""
    lines = text[text.index(f"| {head} |") :].splitlines()
    return list(itertools.takewhile(lambda line: line.startswith("|"), lines[2:]))


def plain(text):
    """Return text without marks and doubled blanks."""
    return " ".join(text.replace("`", "").replace("\\|", "|").split())


def test_the_filter_page_agrees_with_the_code():
    told = rest_rows(filters.__doc__)
    assert len(told) > 15
    assert told == [row for row in markdown_rows(read("docs/filters.md")) if len(row) == 2]


def test_the_guide_lists_the_arguments_of_a_store():
    parameters = {name: each.default for name, each in inspect.signature(agentmem.MemoryStore).parameters.items()}
    told = {}
    for names, defaults, _ in (line.strip("|").split(" | ") for line in table_below(read("docs/guide.md"), "argument")):
        values = ast.literal_eval(f"[{plain(defaults)}]")
        told |= zip(plain(names).split(", "), values, strict=True)
    del parameters["path"], told["path"]
    assert told == parameters


def test_the_guide_shows_every_verb():
    verbs = {name for name, each in vars(agentmem.MemoryStore).items() if callable(each)} | {
        name for base in agentmem.MemoryStore.__mro__[1:-1] for name, each in vars(base).items() if callable(each)
    }
    shown = set(re.findall(r"(?:store|vectors)\.(\w+)\(", read("docs/guide.md")))
    public = {name for name in verbs if not name.startswith("_")} - INTERNAL
    assert public <= shown, sorted(public - shown)


def test_the_error_page_draws_the_tree_of_the_code():
    drawn = textwrap.dedent(errors.__doc__.split("::\n\n")[1].split("\n\nEach also")[0])
    assert blocks(read("docs/errors.md"), "text")[0][1].strip() == drawn.strip()


def test_the_error_page_says_what_to_do_for_each():
    bases = (errors.AgentMemError, errors.StoreError)
    names = [name for name, each in vars(errors).items() if isinstance(each, type) and each not in bases]
    assert [row[0] for row in markdown_rows(read("docs/errors.md"))] == names


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_between_pages_lead_somewhere(page):
    for target in re.findall(r"\]\((?!https?:)([^)#]+)[^)]*\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target


def test_the_measured_tables_are_those_of_the_raw_results():
    spec = importlib.util.spec_from_file_location("tables", ROOT / "benchmarks" / "tables.py")
    tables = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tables)
    pages = [page.read_text(encoding="utf-8") for page in tables.PAGES]
    assert sorted(block[1] for page in pages for block in tables.BLOCK.findall(page)) == sorted(tables.RENDER)
    assert [tables.rendered(page) for page in pages] == pages
