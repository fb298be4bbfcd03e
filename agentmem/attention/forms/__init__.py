"""The forms: how each kind of mechanism is put together from the stages of an engine.

A form is a function of an engine and a ``Call`` that returns the output and, where the call wants them, the weights;
a mechanism names its form, and its atoms tell the form what to do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from agentmem.attention import registry
from agentmem.attention.call import Call
from agentmem.attention.engine import Engine, engine
from agentmem.attention.forms.custom import run_custom
from agentmem.attention.forms.experts import run_experts
from agentmem.attention.forms.hyperbolic import run_hyperbolic
from agentmem.attention.forms.memory import run_memory
from agentmem.attention.forms.softmax import run_softmax
from agentmem.attention.inputs import Floats

Form = Callable[[Engine, Call], tuple[Floats, Floats | None]]

FORMS: Mapping[str, Form] = MappingProxyType(
    {
        "softmax": run_softmax,
        "hyperbolic": run_hyperbolic,
        "experts": run_experts,
        "memory": run_memory,
    }
)
SCORED = "maxsim"
"""The form that has scores and no output: late interaction, in ``score``."""


def run_form(call: Call, backend: str) -> tuple[Floats, Floats | None, str]:
    """Carry a call out; return the output, the weights where the call wants them, and what ran.

    Raises:
        InvalidInput, BackendUnavailable: as the engine and the form.
    """
    own = registry.custom(call.declared.name)
    if own is not None:
        return *run_custom(own, call, backend), "python"
    ran = engine(backend, call.query.dtype)
    return *FORMS[call.declared.form](ran, call), ran.name
