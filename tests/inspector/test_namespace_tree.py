"""The tree of namespaces, against a plain walk over all names."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentmem.inspector.namespaces import NamespaceTree, Node

names = st.lists(st.sampled_from(["a", "a-b", "b", "", "é", "0"]), min_size=1, max_size=4).map("/".join)


def plain(counts, branch):
    """Return the nodes of a level, by looking at every name."""
    parts = {}
    for name, number in counts.items():
        if name.startswith(branch):
            first, slash, _ = name[len(branch) :].partition("/")
            own, below = parts.get(first, (None, None))
            parts[first] = (own, (below or 0) + number) if slash else (number, below)
    return {
        Node(first, None if own is None else branch + first, own or 0, below and f"{branch}{first}/", below or 0)
        for first, (own, below) in parts.items()
    }


def walked(tree, branch, limit):
    """Return the nodes of a level, page by page."""
    found, after = tree.level(branch, None, limit)
    while after is not None:
        more, after = tree.level(branch, after, limit)
        assert more
        found += more
    return found


@given(
    st.dictionaries(names, st.integers(1, 9)), st.sampled_from(["", "a/", "b/", "/", "a/b/", "//"]), st.integers(1, 4)
)
def test_a_level_is_what_a_walk_over_all_names_finds(counts, branch, limit):
    found = walked(NamespaceTree(counts), branch, limit)
    assert len(found) == len(set(found))
    assert set(found) == plain(counts, branch)


def test_a_name_and_the_branch_below_it_are_one_node():
    nodes, after = NamespaceTree({"users": 2, "users-old": 1, "users/1": 5, "users/2/x": 7}).level()
    assert after is None
    assert nodes == [Node("users", "users", 2, "users/", 12), Node("users-old", "users-old", 1, None, 0)]


@pytest.mark.parametrize("branch", ["", "nobody/"])
def test_an_empty_level(branch):
    assert NamespaceTree({}).level(branch) == ([], None)
