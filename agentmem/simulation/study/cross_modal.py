"""Code, documents and tests of one project as a labelled set: a checkout of this package and its own imports."""

from __future__ import annotations

import ast
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from agentmem.errors import InvalidInput
from agentmem.simulation.datasets import ALL, DEV, TEST, TRAIN, Dataset, Document, LabelledQuery

PACKAGE, DOCS, TESTS = "agentmem", "docs", "tests"
SHARES = ((TRAIN, 0.55), (DEV, 0.7), (TEST, 1.0))
_HEADING = re.compile(r"^#{1,3} ", re.M)
_NAMED = re.compile(rf"\b{PACKAGE}(?:\.\w+)+")


class Part(NamedTuple):
    """A module, a function of a test, or a section of a document.

    Attributes:
        id: where it is: a path, and a name or number behind "#".
        kind: "code", "docs" or "tests".
        text: without its imports.
        modules: ids of the modules that it imports (a test) or names (a section).
    """

    id: str
    kind: str
    text: str
    modules: frozenset[str]


def read_checkout(folder: Path | str) -> Dataset:
    """Return the modules, sections of documents and tests of a checkout, with questions across the three.

    Every test is a question that the modules which it imports answer ("tests → code"), every section that names modules
    by their full names one that those answer ("docs → code"); and a module's docstring is asked for the tests that
    import it ("code → tests") and for the sections that name it ("code → docs").  A question's own document is hidden
    from its search.  Import statements are left out of texts; a section keeps the names in it.  A question's split is
    drawn by the checksum of the file that it comes from, so that no file is in two splits.

    Raises:
        InvalidInput: this is no checkout of the package.
    """
    folder = Path(folder)
    for name in (PACKAGE, DOCS, TESTS):
        if not (folder / name).is_dir():
            raise InvalidInput(
                f"{folder} has no folder {name}/; give a checkout of the project's repository, with {PACKAGE}/, "
                f"{DOCS}/ and {TESTS}/ (an installed package has no tests)"
            )
    code = {module: path for path in sorted((folder / PACKAGE).rglob("*.py")) if (module := _module(folder, path))}
    modules = [_code(folder, path) for path in code.values()]
    ids = {module: part.id for module, part in zip(code, modules, strict=True)}
    tests = [part for path in sorted((folder / TESTS).rglob("test_*.py")) for part in _tests(folder, path, ids)]
    sections = [part for path in sorted((folder / DOCS).glob("*.md")) for part in _sections(folder, path, ids)]
    parts = [part for part in (*modules, *tests, *sections) if part.text.strip()]
    asked = [*_forward(parts), *_back(folder, modules, parts)]
    if not asked:
        raise InvalidInput(f"{folder}: no test imports a module of {PACKAGE}/, and no page of {DOCS}/ names one")
    return Dataset(
        "cross-modal",
        tuple(Document(part.id, part.text, "", None, None, None, None, None, {"kind": part.kind}) for part in parts),
        tuple(query for query, _ in asked),
        {query.id: dict.fromkeys(sorted(answers), 1) for query, answers in asked},
        split=ALL,
    )


def _module(folder: Path, path: Path) -> str:
    """Return a module's full name; "" for one without a word in it."""
    names = path.relative_to(folder).with_suffix("").parts
    return ".".join(names[:-1] if names[-1] == "__init__" else names) if path.read_text("utf-8").strip() else ""


def _code(folder: Path, path: Path) -> Part:
    return Part(path.relative_to(folder).as_posix(), "code", _without_imports(path.read_text("utf-8")), frozenset())


def _without_imports(source: str) -> str:
    """Return a module's source without its import statements."""
    lines = source.splitlines()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            for number in range(node.lineno - 1, node.end_lineno or node.lineno):
                lines[number] = ""
    return "\n".join(line for line in lines if line.strip())


def _tests(folder: Path, path: Path, ids: dict[str, str]) -> Iterator[Part]:
    """Yield the functions of a file of tests, those of classes among them; each imports what its file does."""
    source = path.read_text("utf-8")
    tree = ast.parse(source)
    found = frozenset(ids[name] for name in _imported(tree) if name in ids)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            words = node.name.replace("_", " ")
            body = _without_imports_of(ast.get_source_segment(source, node) or "")
            yield Part(f"{path.relative_to(folder).as_posix()}#{node.name}", "tests", f"{words}\n{body}", found)


def _without_imports_of(function: str) -> str:
    return "\n".join(line for line in function.splitlines() if not re.match(r"\s*(from \S+ )?import ", line))


def _imported(tree: ast.AST) -> set[str]:
    """Return the full names of modules and members that are imported: those that exist are looked up later."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names - {PACKAGE}


def _sections(folder: Path, path: Path, ids: dict[str, str]) -> Iterator[Part]:
    """Yield the parts of a page between its headings."""
    text = path.read_text("utf-8")
    starts = [match.start() for match in _HEADING.finditer(text)] or [0]
    for number, (start, end) in enumerate(zip(starts, [*starts[1:], len(text)], strict=True)):
        body = text[start:end]
        found = {ids[name] for each in _NAMED.findall(body) for name in _prefixes(each) if name in ids}
        yield Part(f"{path.relative_to(folder).as_posix()}#{number}", "docs", body, frozenset(found))


def _prefixes(name: str) -> Iterator[str]:
    """Yield the longest module that a dotted name may stand for: itself, or what it is a member of."""
    parts = name.split(".")
    yield from (".".join(parts[:count]) for count in (len(parts), len(parts) - 1) if count > 1)


Asked = tuple[LabelledQuery, set[str] | frozenset[str]]


def _forward(parts: list[Part]) -> Iterator[Asked]:
    """Yield tests and sections as questions for code."""
    for part in parts:
        if part.modules:
            yield _query(f"q:{part.id}", part.text, f"{part.kind} → code", part.id, part.id), part.modules


def _back(folder: Path, modules: list[Part], parts: list[Part]) -> Iterator[Asked]:
    """Yield the docstrings of modules as questions for tests and for sections."""
    for module in modules:
        told = ast.get_docstring(ast.parse((folder / module.id).read_text("utf-8")))
        for kind in ("tests", "docs"):
            answers = {part.id for part in parts if part.kind == kind and module.id in part.modules}
            if told and answers:
                yield _query(f"q:{module.id}:{kind}", told, f"code → {kind}", module.id, module.id), answers


def _query(name: str, text: str, category: str, own: str, source: str) -> LabelledQuery:
    share = zlib.crc32(source.partition("#")[0].encode()) / 2**32
    split = next(split for split, most in SHARES if share <= most)
    return LabelledQuery(name, text, None, {"category": category}, split, own)
