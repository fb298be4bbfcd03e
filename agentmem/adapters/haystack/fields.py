"""What the documents' metadata hold: counts, types, extremes, distinct values."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from agentmem.adapters.haystack.documents import OWN
from agentmem.adapters.haystack.filters import translate
from agentmem.adapters.haystack.opening import OpenedStore, in_haystacks_terms

TYPES: dict[type, str] = {bool: "boolean", int: "int", float: "float"}
"""Haystack's names of types; all others are keywords."""

Meta = Mapping[str, Any]


class FieldVerbs(OpenedStore):
    """Questions about metadata, each with an asynchronous twin; a field's name may begin with "meta."."""

    def count_documents_by_filter(self, filters: dict[str, Any]) -> int:
        """Return the number of documents that match.

        Raises:
            FilterError: the filters cannot be understood.
        """
        with in_haystacks_terms():
            return self.store.count(translate(filters), self.namespace)

    async def count_documents_by_filter_async(self, filters: dict[str, Any]) -> int:
        """Return the number of documents that match."""
        with in_haystacks_terms():
            return await (await self.asynchronous()).count(translate(filters), self.namespace)

    def count_unique_metadata_by_filter(self, filters: dict[str, Any], metadata_fields: list[str]) -> dict[str, int]:
        """Return the number of distinct values that each field has in the documents that match.

        Raises:
            FilterError: the filters cannot be understood.
        """
        return _unique_counts(self._metas(filters), metadata_fields)

    async def count_unique_metadata_by_filter_async(
        self, filters: dict[str, Any], metadata_fields: list[str]
    ) -> dict[str, int]:
        """Return the number of distinct values that each field has in the documents that match."""
        return _unique_counts(await self._metas_async(filters), metadata_fields)

    def get_metadata_fields_info(self) -> dict[str, dict[str, str]]:
        """Return {field: {"type": "keyword", "int", "float" or "boolean"}} of what the documents have."""
        return _types(self._metas())

    async def get_metadata_fields_info_async(self) -> dict[str, dict[str, str]]:
        """Return {field: {"type": "keyword", "int", "float" or "boolean"}} of what the documents have."""
        return _types(await self._metas_async())

    def get_metadata_field_min_max(self, metadata_field: str) -> dict[str, Any]:
        """Return {"min": ..., "max": ...} of a field; None where it has no values, or some that have no order."""
        return _extremes(self._metas(), metadata_field)

    async def get_metadata_field_min_max_async(self, metadata_field: str) -> dict[str, Any]:
        """Return {"min": ..., "max": ...} of a field; None where it has no values, or some that have no order."""
        return _extremes(await self._metas_async(), metadata_field)

    def get_metadata_field_unique_values(
        self,
        metadata_field: str,
        search_term: str | None = None,
        from_: int = 0,
        size: int = 10,
        filters: dict[str, Any] | None = None,
    ) -> tuple[list[Any], int]:
        """Return one page of a field's distinct values, ordered as strings, and how many there are in all.

        Args:
            metadata_field: the field's name.
            search_term: only values in which this stands, in whatever case.
            from_: how many values to leave out.
            size: how many to return at most.
            filters: Haystack's, for the documents that are looked at.

        Raises:
            FilterError: the filters cannot be understood.
        """
        return _page(self._metas(filters), metadata_field, search_term, slice(from_, from_ + size))

    async def get_metadata_field_unique_values_async(
        self,
        metadata_field: str,
        search_term: str | None = None,
        from_: int = 0,
        size: int = 10,
        filters: dict[str, Any] | None = None,
    ) -> tuple[list[Any], int]:
        """Return one page of a field's distinct values; see ``get_metadata_field_unique_values``."""
        return _page(await self._metas_async(filters), metadata_field, search_term, slice(from_, from_ + size))

    def _metas(self, filters: dict[str, Any] | None = None) -> list[Meta]:
        with in_haystacks_terms():
            return [record.metadata for record in self.store.iterate(translate(filters), self.namespace)]

    async def _metas_async(self, filters: dict[str, Any] | None = None) -> list[Meta]:
        with in_haystacks_terms():
            records = (await self.asynchronous()).iterate(translate(filters), self.namespace)
            return [record.metadata async for record in records]


def _values(metas: Iterable[Meta], field: str) -> list[Any]:
    """Return what the documents have in a field, without None."""
    key = field.removeprefix("meta.")
    return [meta[key] for meta in metas if key != OWN and meta.get(key) is not None]


def _unique(values: Iterable[Any]) -> dict[str, Any]:
    """Return distinct values by their JSON, which tells 1 from 1.0, "1" and true."""
    return {json.dumps(value, sort_keys=True): value for value in values}


def _unique_counts(metas: list[Meta], fields: list[str]) -> dict[str, int]:
    return {field.removeprefix("meta."): len(_unique(_values(metas, field))) for field in fields}


def _types(metas: Iterable[Meta]) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for meta in metas:
        for key, value in meta.items():
            if key != OWN and value is not None:
                found[key] = {"type": TYPES.get(type(value), "keyword")}
    return found


def _extremes(metas: Iterable[Meta], field: str) -> dict[str, Any]:
    values = [value for value in _values(metas, field) if isinstance(value, (int, float, str))]
    if not values or len({isinstance(value, str) for value in values}) == 2:
        return {"min": None, "max": None}
    return {"min": min(values), "max": max(values)}


def _page(metas: Iterable[Meta], field: str, term: str | None, page: slice) -> tuple[list[Any], int]:
    values = list(_unique(_values(metas, field)).values())
    if term:
        values = [value for value in values if term.lower() in str(value).lower()]
    values.sort(key=lambda value: (str(value), type(value).__name__))
    return values[page], len(values)
