"""Lines of text files, numbered, with errors that name the file and the line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from agentmem.errors import InvalidInput


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    try:
        with path.open(encoding="utf-8") as file:
            yield from ((number, line) for number, line in enumerate(file, 1) if line.strip())
    except FileNotFoundError as error:
        raise InvalidInput(
            f"{path} does not exist; a BEIR folder holds corpus.jsonl, queries.jsonl and qrels/<split>.tsv"
        ) from error
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{path} is not UTF-8 text: {error}") from error


def rows_of(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield (line number, fields) of a tab-separated file, without its header.

    Raises:
        InvalidInput: the file is missing, or not UTF-8.
    """
    for number, line in _lines(path):
        if number > 1:
            yield number, line.rstrip("\r\n").split("\t")


def objects_of(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the JSON objects of a file of lines, each with an "_id" and a "text".

    Raises:
        InvalidInput: the file is missing or not UTF-8, or a line is something else; the message names it.
    """
    for number, line in _lines(path):
        try:
            value = json.loads(line)
        except ValueError as error:
            raise InvalidInput(f"{path}, line {number}: not JSON ({error})") from error
        if not isinstance(value, dict) or "_id" not in value or "text" not in value:
            raise InvalidInput(f'{path}, line {number}: expected an object with "_id" and "text"')
        yield value
