"""flash-attention-v3 by hand, on numbers that bfloat16 holds exactly."""

from __future__ import annotations

import math

import numpy as np
import pytest

from agentmem.attention import attend

NAME = "flash-attention-v3"


@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_known_answer(backend: str, precision: str) -> None:
    # scores ln 3 and 0: weights 3/4 and 1/4; a code of 8 bits moves a score by less than 1 / 127 of ln 3
    query, eye = np.array([[math.log(3), 0]], np.float32), np.eye(2, dtype=np.float32)
    params = {"scale": 1.0, "precision": precision}
    came = attend(query, eye, 4 * eye, mechanism=NAME, params=params, backend=backend).output
    np.testing.assert_allclose(came, [[3, 1]], atol=1e-6 if precision == "bf16" else 0.02)
