"""Code, documents and tests of one project as a labelled set."""

from pathlib import Path

import pytest

from agentmem.errors import InvalidInput
from agentmem.simulation.study import embedded, read_checkout

ROOT = Path(__file__).parents[2]
FILES = {
    "agentmem/__init__.py": '"""The public names."""\n',
    "agentmem/teapot.py": '"""Pours tea."""\nimport os\n\ndef pour():\n    return os.name\n',
    "agentmem/garden/__init__.py": '"""Plants."""\n',
    "agentmem/garden/rain.py": '"""Makes it rain."""\nfrom agentmem.teapot import (\n    pour,\n)\n\nWET = pour\n',
    "docs/guide.md": "# Guide\n\nCall `agentmem.teapot.pour()` for tea.\n\n## Weather\n\nNothing is named here.\n",
    "tests/test_tea.py": (
        "from agentmem.teapot import pour\nfrom agentmem import garden\n\n"
        "def test_tea_is_hot():\n    import json\n    assert pour()\n\n"
        "class TestMore:\n    def test_it_is_green(self):\n        assert garden\n"
    ),
    "tests/test_nothing.py": "def test_nothing():\n    assert True\n",
}


@pytest.fixture
def checkout(tmp_path):
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def test_documents_of_three_kinds_without_imports(checkout):
    texts = {each.id: (each.metadata["kind"], each.text) for each in read_checkout(checkout).documents}
    assert set(texts) == {
        "agentmem/__init__.py",
        "agentmem/teapot.py",
        "agentmem/garden/__init__.py",
        "agentmem/garden/rain.py",
        "docs/guide.md#0",
        "docs/guide.md#1",
        "tests/test_tea.py#test_tea_is_hot",
        "tests/test_tea.py#test_it_is_green",
        "tests/test_nothing.py#test_nothing",
    }
    assert texts["agentmem/garden/rain.py"] == ("code", '"""Makes it rain."""\nWET = pour')
    kind, text = texts["tests/test_tea.py#test_tea_is_hot"]
    assert kind == "tests"
    assert text.startswith("test tea is hot\n")
    assert "import" not in text
    assert texts["docs/guide.md#1"][0] == "docs"


def test_labels_are_imports_and_names(checkout):
    dataset = read_checkout(checkout)
    assert dict(dataset.qrels) == {
        "q:tests/test_tea.py#test_tea_is_hot": {"agentmem/garden/__init__.py": 1, "agentmem/teapot.py": 1},
        "q:tests/test_tea.py#test_it_is_green": {"agentmem/garden/__init__.py": 1, "agentmem/teapot.py": 1},
        "q:docs/guide.md#0": {"agentmem/teapot.py": 1},
        "q:agentmem/teapot.py:tests": {"tests/test_tea.py#test_it_is_green": 1, "tests/test_tea.py#test_tea_is_hot": 1},
        "q:agentmem/garden/__init__.py:tests": {
            "tests/test_tea.py#test_it_is_green": 1,
            "tests/test_tea.py#test_tea_is_hot": 1,
        },
        "q:agentmem/teapot.py:docs": {"docs/guide.md#0": 1},
    }
    asked = {query.id: query for query in dataset.queries}
    assert asked["q:docs/guide.md#0"].category == "docs → code"
    assert asked["q:agentmem/teapot.py:docs"].text == "Pours tea."
    assert asked["q:agentmem/teapot.py:docs"].own == "agentmem/teapot.py"


def test_the_project_itself():
    if not (ROOT / "docs").is_dir():
        pytest.skip("not a checkout")
    dataset = read_checkout(ROOT)
    answers = dataset.qrels["q:tests/simulation/test_study_cross_modal.py#test_the_project_itself"]
    assert "agentmem/simulation/study/__init__.py" in answers
    assert {query.category for query in dataset.queries} == {
        "tests → code",
        "docs → code",
        "code → tests",
        "code → docs",
    }
    by_file = {}
    for query in dataset.queries:
        by_file.setdefault(query.own.partition("#")[0], set()).add(query.split)
    assert all(len(splits) == 1 for splits in by_file.values())
    assert {query.split for query in dataset.queries} == {"train", "dev", "test"}
    assert embedded(dataset).document_vectors.shape[1] == 256


def test_elsewhere_the_error_says_what_is_needed(tmp_path, checkout):
    with pytest.raises(InvalidInput, match="no folder agentmem/; give a checkout"):
        read_checkout(tmp_path / "docs")
    for path in (checkout / "tests").iterdir():
        path.unlink()
    (checkout / "docs" / "guide.md").write_text("# Nothing\n")
    with pytest.raises(InvalidInput, match="no test imports a module"):
        read_checkout(checkout)
