"""Registry, declarations, and the errors of bad input."""

from __future__ import annotations

import inspect
import math

import numpy as np
import pytest

from agentmem import attention
from agentmem.attention import AttentionWeights, Mechanism, Parameter, attend, registry, score
from agentmem.attention.engine import engine
from agentmem.attention.native import Native
from agentmem.attention.reference import Reference
from agentmem.errors import BackendUnavailable, InvalidInput, InvalidVector, UnknownMechanism

FIRST = {
    "cross-attention",
    "flash-attention-v2",
    "hyperbolic-attention",
    "late-interaction",
    "memory-attention",
    "moe-attention",
    "scaled-dot",
    "standard-mha",
}
HEADS = {
    "alibi-mha",
    "bidirectional-self-attention",
    "causal-self-attention",
    "differential-attention",
    "disentangled-attention",
    "grouped-query-attention",
    "mixture-attention",
    "multi-query-attention",
    "relative-position-attention",
    "rotary-mha",
    "synthesizer-attention",
    "talking-heads-attention",
}
ONE = np.ones((3, 4), np.float32)


def test_catalogue_is_complete_and_sorted() -> None:
    assert set(registry.list()) >= FIRST | HEADS
    assert registry.list() == sorted(registry.list())
    families = {name: registry.by_category(name) for name in registry.categories()}
    assert sorted(m.name for family in families.values() for m in family) == registry.list()
    assert list(families) == sorted(families)
    with pytest.raises(InvalidInput, match="no category 'dense'; there are cross, "):
        registry.by_category("dense")
    assert sorted(attention.__all__) == attention.__all__


@pytest.mark.parametrize("name", sorted(FIRST | HEADS))
def test_declarations_hold_for_their_own_defaults(name: str) -> None:
    declared = registry.get(name)
    assert declared.name == name
    assert declared.paper
    assert declared.why
    given = {p.name: p.default for p in declared.parameters}
    assert declared.resolve(given) == declared.resolve(None) == given


def test_unknown_name_lists_the_nearest_and_all() -> None:
    with pytest.raises(UnknownMechanism, match="did you mean 'standard-mha'") as caught:
        attend(ONE, ONE, mechanism="standart-mha")
    for name in FIRST:
        assert name in str(caught.value)
    with pytest.raises(LookupError):
        score(ONE[0], ONE, mechanism="zzz")


def test_register(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_mechanisms", dict(registry._mechanisms))
    words = {"category": "own", "summary": "s", "can_reorder": False, "why": "w", "paper": "p"}
    scale = Parameter(name="scale", default=2.0, meaning="factor", positive=True)
    registry.register(Mechanism(name="sharp", form="softmax", parameters=(scale,), **words))
    np.testing.assert_allclose(score(ONE[0], np.eye(3, 4, dtype=np.float32), mechanism="sharp"), [1 / 3] * 3)
    near = np.array([[1, 0, 0, 0], [0, 0, 0, 0]], np.float32) * math.log(3) / 2
    np.testing.assert_allclose(score(ONE[0], near, mechanism="sharp"), [3 / 4, 1 / 4], rtol=1e-6)
    rotary = Mechanism(
        name="turned", form="softmax", score="rotary", needs=("positions",), parameters=(scale,), **words
    )
    registry.register(rotary)
    places = {"positions": np.arange(3), "params": {"scale": 2.0}}
    one = attend(ONE, ONE, mechanism="rotary-mha", **(places | {"params": {"heads": 1, "scale": 2.0}}))
    np.testing.assert_array_equal(attend(ONE, ONE, mechanism="turned", **places).output, one.output)
    registry.register(Mechanism(name="vague", form="softmax", bias="nearness", parameters=(scale,), **words))
    with pytest.raises(InvalidInput, match="vague: bias 'nearness'; form 'softmax' knows '', 'slopes'"):
        attend(ONE, ONE, mechanism="vague")
    with pytest.raises(InvalidInput, match="there is a mechanism 'sharp' already"):
        registry.register(Mechanism(name="sharp", form="softmax", parameters=(scale,), **words))
    with pytest.raises(InvalidInput, match="form 'softmax' also reads scale"):
        registry.register(Mechanism(name="blunt", form="softmax", **words))
    with pytest.raises(InvalidInput, match=r"form 'magic'; expected one of .*softmax"):
        registry.register(Mechanism(name="m", form="magic", parameters=(scale,), **words))


def test_both_engines_have_the_same_methods() -> None:
    for name, method in inspect.getmembers(Reference, inspect.isfunction):
        assert inspect.signature(method) == inspect.signature(getattr(Native, name)), name


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda b: attend(ONE.astype(int), ONE, backend=b), InvalidInput, r"query: .* came int64; convert with astype"),
        (
            lambda b: attend(ONE[0], ONE, backend=b),
            InvalidInput,
            r"query: expected 2 dimensions or 3 dimensions, came shape",
        ),
        (lambda b: attend(ONE, ONE[:, :3], backend=b), InvalidVector, "key: expected rows of 4 numbers as in query"),
        (lambda b: attend(ONE[:, :0], ONE, backend=b), InvalidVector, "query: expected rows of at least one number"),
        (
            lambda b: attend(ONE, ONE, ONE[:2], backend=b),
            InvalidInput,
            r"came query \(3, 4\), key \(3, 4\), value \(2, 4\)",
        ),
        (lambda b: attend(ONE[None], ONE, backend=b), InvalidInput, "or all three with n_heads in front"),
        (
            lambda b: attend(ONE, ONE, mask=np.ones((3, 2), bool), backend=b),
            InvalidInput,
            r"mask: expected bool .* \(3, 2\)",
        ),
        (lambda b: attend(ONE, ONE, mask=np.ones((3, 3)), backend=b), InvalidInput, "mask: .* came float64"),
        (
            lambda b: attend(ONE, ONE, mechanism="standard-mha", params={"heads": 3}, backend=b),
            InvalidInput,
            "query: 3 heads do not divide 4 dimensions",
        ),
        (
            lambda b: attend(ONE[None], ONE[None], mechanism="standard-mha", params={"heads": 2}, backend=b),
            InvalidInput,
            "heads is 2, but query has 1 heads in front",
        ),
        (
            lambda b: attend(ONE, ONE, params={"size": 1}, backend=b),
            InvalidInput,
            "no parameter 'size'; it has scale, causal",
        ),
        (
            lambda b: attend(ONE, ONE, params={"scale": 0.0}, backend=b),
            InvalidInput,
            "scale must be a finite number above 0",
        ),
        (
            lambda b: attend(ONE, ONE, params={"causal": 1}, backend=b),
            InvalidInput,
            "causal must be True or False, not 1",
        ),
        (lambda b: attend(ONE, ONE, weights={"query": ONE}, backend=b), InvalidInput, "scaled-dot takes no weights"),
        (
            lambda b: attend(ONE, ONE, mechanism="standard-mha", weights={"q": ONE}, backend=b),
            InvalidInput,
            "weights of standard-mha: unknown 'q'; expected some of query, key",
        ),
        (
            lambda b: attend(ONE, ONE, mechanism="standard-mha", weights={"query": ONE}, backend=b),
            InvalidInput,
            r"weights\['query'\]: expected shape \(dim=4, inner\), came \(3, 4\)",
        ),
        (
            lambda b: attend(ONE[None], ONE[None], mechanism="hyperbolic-attention", backend=b),
            InvalidInput,
            "has no head axis",
        ),
        (
            lambda b: score(ONE[0], ONE, mechanism="scaled-dot", segment_ids=[1, 1, 1], backend=b),
            InvalidInput,
            "takes no segment_ids",
        ),
        (
            lambda b: score(ONE[0], ONE[:, :2], mechanism="scaled-dot", backend=b),
            InvalidVector,
            "keys: expected rows of 4",
        ),
    ],
)
def test_errors_say_what_came_and_what_to_do(backend: str, call: object, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        call(backend)  # type: ignore[operator]


@pytest.mark.parametrize("projected", [False, True])
@pytest.mark.parametrize("mechanism", sorted(HEADS | {"cross-attention", "standard-mha"}))
@pytest.mark.parametrize("which", ["query", "key", "value"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nan_and_infinity_are_refused_before_projections(
    backend: str, mechanism: str, which: str, bad: float, projected: bool
) -> None:
    rng = np.random.default_rng(0)
    arrays = {name: rng.standard_normal((9, 16)).astype(np.float32) for name in ("query", "key", "value")}
    arrays[which][4, 3] = bad
    declared = registry.get(mechanism)
    made = AttentionWeights.init(mechanism, dim=16, n_keys=9)
    needed = {"hidden", "scores"} | {weight.name for weight in declared.weights if weight.required}
    weights = {name: made[name] for name in made if projected or name in needed}
    positions = np.arange(9) if declared.needs else None
    with pytest.raises(InvalidVector, match=rf"{which}: expected finite numbers, came NaN or infinity at \[4, 3\]"):
        attend(**arrays, mechanism=mechanism, positions=positions, weights=weights, backend=backend)


@pytest.mark.parametrize("mechanism", sorted(FIRST - {"late-interaction"}))
@pytest.mark.parametrize("which", ["query", "key", "value"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_are_refused(backend: str, mechanism: str, which: str, bad: float) -> None:
    rng = np.random.default_rng(0)
    arrays = {name: rng.standard_normal((9, 8)).astype(np.float32) for name in ("query", "key", "value")}
    context = (arrays["key"].copy(), arrays["value"].copy()) if mechanism == "memory-attention" else None
    weights = {"router": np.eye(8, 4, dtype=np.float32)} if mechanism == "moe-attention" else None
    arrays[which][4, 3] = bad
    with pytest.raises(InvalidVector, match=rf"{which}: expected finite numbers, came NaN or infinity at \[4, 3\]"):
        attend(**arrays, mechanism=mechanism, context=context, weights=weights, backend=backend)
    with pytest.raises(InvalidVector, match="expected finite"):
        attend(**arrays, mechanism=mechanism, context=context, weights=weights, backend=backend, mask=np.zeros(9, bool))


def test_overflow_is_named(backend: str) -> None:
    huge = np.full((2, 4), 1e30, np.float32)
    if backend == "numpy":
        np.testing.assert_allclose(attend(huge, huge, backend=backend).output, huge)
    else:
        with pytest.raises(InvalidInput, match=r"the scores exceed float32; .* pass float64"):
            attend(huge, huge, backend=backend)


def test_backends() -> None:
    with pytest.raises(InvalidInput, match="backend: expected one of auto, native, numpy, torch, came 'cuda'"):
        attend(ONE, ONE, backend="cuda")
    assert engine("numpy").name == "numpy"
    assert attend(ONE, ONE, backend="numpy").backend == "numpy"


def test_native_refuses_float64(backend: str) -> None:
    if backend == "native":
        with pytest.raises(BackendUnavailable, match="the kernels take float32, came float64"):
            attend(ONE.astype(float), ONE.astype(float), backend=backend)
    else:
        assert attend(ONE.astype(float), ONE.astype(float), backend=backend).output.dtype == np.float64
