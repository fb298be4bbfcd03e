"""Every test that asks for ``backend`` runs on the compiled kernels and on NumPy."""

from __future__ import annotations

import warnings

import pytest

from agentmem.attention.engine import engine
from agentmem.errors import BackendUnavailable


@pytest.fixture(params=["native", "numpy"])
def backend(request: pytest.FixtureRequest) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        try:
            engine(request.param)
        except BackendUnavailable as reason:
            pytest.skip(str(reason))
    return str(request.param)
