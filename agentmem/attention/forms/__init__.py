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
from agentmem.attention.forms.differential import run_differential
from agentmem.attention.forms.experts import run_experts, run_soft_experts
from agentmem.attention.forms.flash import run_decoding, run_low_precision
from agentmem.attention.forms.gated import run_gated
from agentmem.attention.forms.graph import run_graph
from agentmem.attention.forms.hierarchy import run_hierarchy
from agentmem.attention.forms.hyperbolic import run_hyperbolic
from agentmem.attention.forms.landmarks import run_linformer, run_nystrom
from agentmem.attention.forms.latent import run_latent
from agentmem.attention.forms.linear import run_linear
from agentmem.attention.forms.memory import run_memory
from agentmem.attention.forms.mixture import run_mixture
from agentmem.attention.forms.relative import run_disentangled, run_relative
from agentmem.attention.forms.softmax import run_softmax
from agentmem.attention.forms.support import run_blockwise, run_longformer, run_star, run_support
from agentmem.attention.forms.synthesizer import run_synthesizer
from agentmem.attention.forms.talking import run_talking
from agentmem.attention.inputs import Floats

Form = Callable[[Engine, Call], tuple[Floats, Floats | None]]

FORMS: Mapping[str, Form] = MappingProxyType(
    {
        "softmax": run_softmax,
        "differential": run_differential,
        "mixture": run_mixture,
        "relative": run_relative,
        "disentangled": run_disentangled,
        "talking": run_talking,
        "synthesizer": run_synthesizer,
        "support": run_support,
        "longformer": run_longformer,
        "star": run_star,
        "blockwise": run_blockwise,
        "graph": run_graph,
        "low-precision": run_low_precision,
        "decoding": run_decoding,
        "hyperbolic": run_hyperbolic,
        "linear": run_linear,
        "nystrom": run_nystrom,
        "linformer": run_linformer,
        "experts": run_experts,
        "soft-experts": run_soft_experts,
        "memory": run_memory,
        "latent": run_latent,
        "gated": run_gated,
        "hierarchy": run_hierarchy,
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
