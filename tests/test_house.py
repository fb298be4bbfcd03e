"""The plan of the house, read from the sources: floors, doors, sizes, and the public names."""

import ast
import re
import subprocess
import sys
from collections import defaultdict
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import agentmem
from agentmem import errors

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "agentmem"
MODULES = sorted(PACKAGE.rglob("*.py"))
KERNELS = sorted((ROOT / "cython_kernels").glob("*"))

# A module imports from lower floors, from its own package, and (but on floor 1) from its own floor as long as that
# makes no circle.
FLOORS = {
    "_kernels": 0,
    "addresses": 0,
    "backend": 0,
    "cache": 0,
    "errors": 0,
    "extras": 0,
    "faults": 0,
    "files": 0,
    "keys": 0,
    "metrics": 0,
    "progress": 0,
    "prometheus": 0,
    "records": 0,
    "rows": 0,
    "telemetry": 0,
    "validation": 0,
    "waiting": 0,
    "attention": 1,
    "embed": 1,
    "index": 1,
    "storage": 1,
    "hooks": 2,
    "identity": 2,
    "ingest": 2,
    "live_index": 2,
    "maintenance": 2,
    "rerank": 2,
    "terms": 2,
    "aio": 3,
    "calibration": 3,
    "candidates": 3,
    "care": 3,
    "core": 3,
    "depth": 3,
    "enhance": 3,
    "feedback": 3,
    "learning": 3,
    "links": 3,
    "ranking": 3,
    "reading": 3,
    "reembedding": 3,
    "reranking": 3,
    "search": 3,
    "store": 3,
    "weights": 3,
    "writing": 3,
    "adapters": 4,
    "cli": 4,
    "inspector": 4,
    "memory": 4,
    "simulation": 4,
    "transfer": 4,
}
FLAT = 1


def room(path: Path) -> str:
    """Return the name of the module or package right below ``agentmem`` that a file belongs to."""
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


@cache
def imports(path: Path) -> set[str]:
    """Return the full names of all that a file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def house_imports() -> dict[str, set[str]]:
    """Return which room imports which others."""
    result = defaultdict(set)
    for path in MODULES:
        if path != PACKAGE / "__init__.py":
            parts = (name.split(".") for name in imports(path))
            rooms = {name[1] for name in parts if name[0] == "agentmem" and len(name) > 1 and name[1] in FLOORS}
            result[room(path)] |= rooms - {room(path)}
    return result


def importers(name: str) -> set[str]:
    """Return the files, relative to the package, that import a top-level module."""
    return {
        path.relative_to(PACKAGE).as_posix()
        for path in MODULES
        if any(imported.split(".")[0] == name for imported in imports(path))
    }


def test_every_room_has_a_floor():
    rooms = {room(path) for path in MODULES} - {"__init__"}
    assert rooms == set(FLOORS), f"in FLOORS or in the package, but not in both: {sorted(rooms ^ set(FLOORS))}"


def test_imports_go_down():
    for importer, imported in house_imports().items():
        upward = {name for name in imported if FLOORS[name] > FLOORS[importer]}
        assert not upward, f"{importer} (floor {FLOORS[importer]}) imports {sorted(upward)} from above"


def test_the_rooms_of_the_first_floor_do_not_know_one_another():
    for importer, imported in house_imports().items():
        if FLOORS[importer] == FLAT:
            assert not {name for name in imported if FLOORS[name] == FLAT}, f"{importer} imports {sorted(imported)}"


def test_there_are_no_circles():
    try:
        TopologicalSorter(house_imports()).prepare()
    except CycleError as error:
        pytest.fail(f"a circle of imports: {' -> '.join(error.args[1])}")


def test_errors_imports_nothing():
    assert imports(PACKAGE / "errors.py") == {"__future__.annotations"}


def test_sql_lives_in_storage_and_attention_s_functions_only():
    users = importers("sqlite3") | importers("sqlite_utils")
    assert users, "nothing imports sqlite3: this test looks at the wrong files"
    assert {user for user in users if not user.startswith("storage/")} == {"attention/sql.py"}
    statement = re.compile(
        r'"\s*(SELECT .+ FROM |INSERT .*INTO |UPDATE \S+ SET |DELETE FROM |CREATE TABLE |PRAGMA )', re.S
    )
    for path in MODULES:
        if room(path) != "storage" and path != PACKAGE / "attention" / "sql.py":
            assert not statement.search(path.read_text(encoding="utf-8")), f"SQL in {path.relative_to(ROOT)}"


def test_hnswlib_is_imported_in_one_place():
    assert importers("hnswlib") == {"index/hnsw.py"}


def test_each_package_has_one_door_to_the_kernels():
    doors = defaultdict(list)
    for path in MODULES:
        if "agentmem.backend.kernels" in imports(path):
            doors[room(path)].append(path.name)
    assert doors, "nothing uses the kernels: this test looks at the wrong files"
    assert all(len(modules) == 1 for modules in doors.values()), dict(doors)


def test_only_the_backend_asks_for_compiled_modules():
    for path in MODULES:
        if room(path) not in ("backend", "_kernels"):
            assert not [name for name in imports(path) if name.startswith("agentmem._kernels")], path


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_modules_stay_small(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400


@pytest.mark.parametrize("path", KERNELS, ids=lambda path: path.name)
def test_kernel_sources_stay_small(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 300


def test_the_public_names_are_sorted_few_and_there():
    source = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    public = {
        alias.asname or alias.name
        for node in ast.walk(source)
        if isinstance(node, ast.ImportFrom) and node.module.startswith("agentmem")
        for alias in node.names
    }
    names = agentmem.__all__
    assert list(names) == sorted(names)
    assert len(names) == len(set(names)) <= 30
    assert public == set(names)
    assert all(hasattr(agentmem, name) for name in names)


def test_public_names_are_imported_when_they_are_asked_for():
    code = (
        "import sys, agentmem\n"
        "assert agentmem.attention.attend and 'agentmem.store' not in sys.modules\n"
        "assert agentmem.MemoryStore and 'agentmem.store' in sys.modules\n"
        "assert set(agentmem.__all__) <= set(dir(agentmem)) and not hasattr(agentmem, 'nothing')\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def tree_of(cls: type, bars: str = "") -> list[str]:
    """Draw the exceptions below a class as the docstring does, without the explanations."""
    below = [each for each in vars(errors).values() if isinstance(each, type) and each.__bases__[0] is cls]
    lines = []
    for number, each in enumerate(below):
        last = number == len(below) - 1
        builtin = [base.__name__ for base in each.__bases__[1:]]
        name = each.__name__ + (f" ({', '.join(builtin)})" if builtin else "")
        lines.append(f"{bars}{'└── ' if last else '├── '}{name}")
        lines += tree_of(each, bars + ("    " if last else "│   "))
    return lines


def test_the_tree_of_errors_is_the_one_drawn():
    drawn = re.findall(r"^    ([│ ]*[├└]── \w+(?: \(\w+\))?)", errors.__doc__, re.M)
    assert drawn == tree_of(errors.AgentMemError)
