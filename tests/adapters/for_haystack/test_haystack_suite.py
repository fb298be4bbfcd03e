"""Haystack's own suite for document stores, base and extended, sync and async, as it is published.

What is overridden is the one test of ``write_documents`` without a policy, which every store has to write for itself.
"""

import pytest

pytest.importorskip("haystack", reason='pip install "agentmem[haystack]"')
pytest.importorskip("pytest_asyncio", reason='pip install "agentmem[integrations]"')

from haystack import Document
from haystack.document_stores.errors import DuplicateDocumentError
from haystack.testing import document_store, document_store_async
from haystack.testing.document_store import (
    CountDocumentsByFilterTest,
    CountUniqueMetadataByFilterTest,
    DocumentStoreBaseExtendedTests,
    GetMetadataFieldMinMaxTest,
    GetMetadataFieldsInfoTest,
    GetMetadataFieldUniqueValuesTest,
)
from haystack.testing.document_store_async import (
    CountDocumentsAsyncTest,
    CountDocumentsByFilterAsyncTest,
    CountUniqueMetadataByFilterAsyncTest,
    DeleteAllAsyncTest,
    DeleteByFilterAsyncTest,
    DeleteDocumentsAsyncTest,
    FilterDocumentsAsyncTest,
    GetMetadataFieldMinMaxAsyncTest,
    GetMetadataFieldsInfoAsyncTest,
    GetMetadataFieldUniqueValuesAsyncTest,
    UpdateByFilterAsyncTest,
    WriteDocumentsAsyncTest,
)
from haystack_kit import TEXTS

from agentmem.adapters.haystack import AgentMemDocumentStore

DIMENSION = 768
"""Of the suite's embeddings."""


class Store:
    """Gives each test of the suite an empty store."""

    @pytest.fixture
    def document_store(self, tmp_path):
        store = AgentMemDocumentStore(tmp_path / "documents.db", embedding_dimension=DIMENSION)
        yield store
        store.close()


class TestSync(
    Store,
    DocumentStoreBaseExtendedTests,
    CountDocumentsByFilterTest,
    CountUniqueMetadataByFilterTest,
    GetMetadataFieldsInfoTest,
    GetMetadataFieldMinMaxTest,
    GetMetadataFieldUniqueValuesTest,
):
    def test_write_documents(self, document_store):
        documents = [Document(id=name, content=text) for name, text in TEXTS.items()]
        assert document_store.write_documents(documents) == 4
        with pytest.raises(DuplicateDocumentError, match="'bread' exists already"):
            document_store.write_documents(documents[:1])
        self.assert_documents_are_equal(document_store.filter_documents(), documents)


class TestAsync(
    Store,
    CountDocumentsAsyncTest,
    CountDocumentsByFilterAsyncTest,
    CountUniqueMetadataByFilterAsyncTest,
    DeleteAllAsyncTest,
    DeleteByFilterAsyncTest,
    DeleteDocumentsAsyncTest,
    FilterDocumentsAsyncTest,
    GetMetadataFieldMinMaxAsyncTest,
    GetMetadataFieldsInfoAsyncTest,
    GetMetadataFieldUniqueValuesAsyncTest,
    UpdateByFilterAsyncTest,
    WriteDocumentsAsyncTest,
):
    @pytest.mark.asyncio
    async def test_write_documents_async(self, document_store):
        documents = [Document(id=name, content=text) for name, text in TEXTS.items()]
        assert await document_store.write_documents_async(documents) == 4
        with pytest.raises(DuplicateDocumentError, match="'bread' exists already"):
            await document_store.write_documents_async(documents[:1])
        self.assert_documents_are_equal(await document_store.filter_documents_async(), documents)


@pytest.mark.parametrize(("ours", "module"), [(TestSync, document_store), (TestAsync, document_store_async)])
def test_no_part_of_the_suite_is_left_out(ours, module):
    parts = {name for name, each in vars(module).items() if isinstance(each, type) and name.endswith("Test")}
    assert parts
    assert parts - {each.__name__ for each in ours.__mro__} == set()
