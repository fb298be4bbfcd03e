"""The file of the reference MCP memory server (memory.json, memory.jsonl): a graph, one entity or relation a line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from agentmem.errors import BadSource
from agentmem.transfer.lines import Line
from agentmem.transfer.source import FOREIGN, Source, parsed_lines, stable_id

OPTIONS = FOREIGN
_ENTITY = ("name", "entityType")
_RELATION = ("from", "to", "relationType")


@contextmanager
def opened(path: str, *, namespace: str = "graph", prefix: str = "") -> Iterator[Source]:
    """Open a file.

    An entity becomes a record in ``<namespace>/entities`` whose text is its name, type and observations, a relation
    one in ``<namespace>/relations`` whose text is its sentence; what they are stands in their metadata, as the graph
    tools of ``agentmem mcp`` keep it.

    Args:
        path: of the file.
        namespace: of the graph.
        prefix: put before every id.
    """
    found = list(parsed_lines(path))
    if found and not any(isinstance(value, dict) and "type" in value for _, value, _ in found):
        raise BadSource(f"{path} is no file of the MCP memory server: no line is an object with a 'type'")
    yield Source(None, len(found), _lines(path, found, namespace, prefix))


def _lines(path: str, found: list[tuple[int, Any, str | None]], namespace: str, prefix: str) -> Iterator[Line]:
    before: Counter[tuple[str, ...]] = Counter()
    for end, (number, value, problem) in enumerate(found, 1):
        where = f"{path}, line {number}"
        made = _entity(value) or _relation(value)
        if made is None:
            yield Line(where, "", {}, end, problem=problem or "neither an entity nor a relation")
            continue
        identity, fields = made
        id = prefix + stable_id(namespace, *identity, str(before[identity]))
        before[identity] += 1
        fields["namespace"] = f"{namespace}/{fields['namespace']}"
        yield Line(where, id, {**fields, "position": float(number)}, end)


def _entity(value: Any) -> tuple[tuple[str, ...], dict[str, Any]] | None:
    """Return what tells an entity from others, and its fields; None for anything else."""
    if not _is(value, "entity", _ENTITY) or not _is_list_of_strings(value.get("observations")):
        return None
    metadata = {**{name: value[name] for name in _ENTITY}, "observations": value["observations"]}
    text = "\n".join((f"{value['name']} ({value['entityType']})", *value["observations"]))
    return ("entity", value["name"]), {"namespace": "entities", "text": text, "metadata": metadata}


def _relation(value: Any) -> tuple[tuple[str, ...], dict[str, Any]] | None:
    """Return what tells a relation from others, and its fields; None for anything else."""
    if not _is(value, "relation", _RELATION):
        return None
    metadata = {name: value[name] for name in _RELATION}
    text = f"{value['from']} {value['relationType']} {value['to']}."
    return ("relation", *metadata.values()), {"namespace": "relations", "text": text, "metadata": metadata}


def _is(value: Any, kind: str, names: tuple[str, ...]) -> bool:
    if not isinstance(value, dict) or value.get("type") != kind:
        return False
    return all(isinstance(value.get(name), str) for name in names)


def _is_list_of_strings(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)
