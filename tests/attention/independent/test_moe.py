"""The mixtures against implementations of other hands: transformers' Switch router, soft-moe-pytorch, torch."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import pytest
from contract import rows

from agentmem.attention import attend, load_balance_loss

EXTRA = 'not installed; pip install "agentmem[independent]"'


def library(name: str) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip(name, reason=f"{name} is {EXTRA}")


torch = library("torch")


def answers(query: Any, key: Any, value: Any, learned: dict[str, Any], expert: int) -> Any:
    """What one expert says to every query, by torch's own attention."""
    q = query @ learned["query"][expert]
    k, v = key @ learned["key"], value @ learned["value"]
    return torch.nn.functional.scaled_dot_product_attention(q[None], k[None], v[None])[0] @ learned["output"][expert]


def problem(experts: int, n_queries: int = 40) -> tuple[dict[str, np.ndarray], list[np.ndarray], Any, list[Any]]:
    """Weights and arrays, and the same as tensors."""
    learned = {
        "router": rows(1, 8, experts),
        "query": rows(2, experts, 8, 8),
        "key": rows(3, 8, 8),
        "value": rows(4, 6, 6),
        "output": rows(5, experts, 6, 6),
    }
    arrays = [rows(6, n_queries, 8), rows(7, 20, 8), rows(8, 20, 6)]
    return (
        learned,
        arrays,
        {name: torch.from_numpy(array) for name, array in learned.items()},
        [torch.from_numpy(array) for array in arrays],
    )


def switch_router(experts: int, capacity: int, router: Any) -> Any:
    library("transformers")
    from transformers import SwitchTransformersConfig
    from transformers.models.switch_transformers.modeling_switch_transformers import SwitchTransformersTop1Router

    config = SwitchTransformersConfig(
        hidden_size=8, num_experts=experts, expert_capacity=capacity, router_jitter_noise=0.0
    )
    module = SwitchTransformersTop1Router(config).eval()
    with torch.no_grad():
        module.classifier.weight.copy_(router.T)
    return module


def test_switch_routes_as_transformers_s(backend: str) -> None:
    learned, arrays, weights, tensors = problem(4)
    with torch.no_grad():
        sent, chance, _ = switch_router(4, math.ceil(1.25 * 40 / 4), weights["router"])(tensors[0][None])
        expected = sum(sent[0, :, e : e + 1] * chance[0] * answers(*tensors, weights, e) for e in range(4))
    assert (sent.sum(-1) == 0).any()  # somebody found no room
    came = attend(*arrays, mechanism="switch-attention", weights=learned, backend=backend).output
    np.testing.assert_allclose(came, expected.numpy(), rtol=2e-3, atol=1e-4)


def test_load_balance_loss_is_transformers_s() -> None:
    library("transformers")
    from transformers.models.switch_transformers.modeling_switch_transformers import load_balancing_loss_func

    learned, arrays, weights, tensors = problem(4)
    logits = (tensors[0] @ weights["router"])[None]
    expected = float(load_balancing_loss_func(logits.softmax(-1), logits.argmax(-1)))
    came = load_balance_loss(arrays[0], weights=learned, mechanism="switch-attention", alpha=1.0)
    assert came == pytest.approx(expected, rel=1e-5)


def test_soft_is_soft_moe_pytorch_s(backend: str) -> None:
    theirs = library("soft_moe_pytorch")
    learned, arrays, weights, tensors = problem(3)
    router = rows(9, 8, 6)

    class Experts(torch.nn.Module):  # type: ignore[misc]
        def forward(self, slots: Any) -> Any:
            return torch.stack([answers(slots[0, e], *tensors[1:], weights, e) for e in range(3)])[None]

    module = theirs.SoftMoE(dim=8, num_experts=3, num_slots=2).eval()
    module.norm = module.slot_norm = torch.nn.Identity()
    module.experts = Experts()
    with torch.no_grad():
        module.slot_embeds.copy_(torch.from_numpy(router.T.reshape(3, 2, 8).copy()))
        expected = module(tensors[0][None])[0].numpy()
    params = {"experts": 3, "slots": 2}
    came = attend(
        *arrays,
        mechanism="soft-moe-attention",
        params=params,
        weights=learned | {"router": router},
        backend=backend,
    ).output
    np.testing.assert_allclose(came, expected, rtol=2e-3, atol=1e-4)


def test_mixture_of_two_is_its_formula_in_torch(backend: str) -> None:
    learned, arrays, weights, tensors = problem(5)
    top = (tensors[0] @ weights["router"]).topk(2, dim=1)
    gates = torch.zeros(40, 5).scatter(1, top.indices, top.values.softmax(1))
    expected = sum(gates[:, e : e + 1] * answers(*tensors, weights, e) for e in range(5))
    params = {"experts": 5, "capacity": 5.0}
    came = attend(*arrays, mechanism="moe-attention", params=params, weights=learned, backend=backend).output
    np.testing.assert_allclose(came, expected.numpy(), rtol=2e-3, atol=1e-4)


def test_expert_choice_is_its_formula_in_torch(backend: str) -> None:
    learned, arrays, weights, tensors = problem(4)
    chances = (tensors[0] @ weights["router"]).softmax(1)
    taken = chances.T.topk(20, dim=1)  # 2 · 40 / 4
    gates = torch.zeros(4, 40).scatter(1, taken.indices, taken.values)
    expected = sum(gates[e][:, None] * answers(*tensors, weights, e) for e in range(4))
    came = attend(*arrays, mechanism="expert-choice-attention", weights=learned, backend=backend).output
    np.testing.assert_allclose(came, expected.numpy(), rtol=2e-3, atol=1e-4)
