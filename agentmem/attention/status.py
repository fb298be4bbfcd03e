"""What this machine has for attention: kernels and their instruction set, BLAS, threads, PyTorch."""

from __future__ import annotations

import importlib
import os
import platform
from pathlib import Path
from typing import Any

import numpy as np

from agentmem import backend as backends
from agentmem.attention.engine import native

LEVELS = (
    ("x86-64-v4", {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}),
    ("x86-64-v3", {"avx2", "bmi1", "bmi2", "f16c", "fma", "movbe"}),
)
"""The versions that a kernel is compiled in besides the plain one, and what a processor needs for them."""
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def is_native_available() -> bool:
    """Say whether the compiled kernels are there and allowed (``AGENTMEM_BACKEND``)."""
    return native() is not None


def cores() -> int:
    """Return the processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def instruction_set() -> str:
    """Return the version of the kernels that runs here: "x86-64-v4" (AVX-512), "x86-64-v3" (AVX2) or "baseline".

    The choice is made by the system's loader, by what the processor has; this reads the same facts, as Linux tells
    them.
    """
    cpuinfo = Path("/proc/cpuinfo")
    if platform.machine() not in ("x86_64", "AMD64") or not cpuinfo.exists():
        return "baseline"
    line = next((line for line in cpuinfo.read_text().splitlines() if line.startswith("flags")), "")
    flags = set(line.partition(":")[2].split())
    return next((level for level, needed in LEVELS if needed <= flags), "baseline")


def blas() -> dict[str, Any]:
    """Return NumPy's BLAS: name, version, core type and threads, None where they are not known.

    Core type and threads need threadpoolctl, which ``pip install threadpoolctl`` brings.
    """
    try:
        threadpoolctl = importlib.import_module("threadpoolctl")
    except ImportError:
        built = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
        return {"name": built.get("name"), "version": built.get("version"), "core_type": None, "threads": None}
    pools = [pool for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"] or [{}]
    names = {"name": "internal_api", "version": "version", "core_type": "architecture", "threads": "num_threads"}
    return {name: pools[0].get(key) for name, key in names.items()}


def torch_status() -> dict[str, Any]:
    """Return PyTorch's version and CUDA device, None where they are not there."""
    try:
        torch = importlib.import_module("torch")
    except ImportError:
        return {"version": None, "cuda": None}
    return {"version": torch.__version__, "cuda": torch.cuda.get_device_name() if torch.cuda.is_available() else None}


def backend_status() -> dict[str, Any]:
    """Return what there is: which backends can run, and what "auto" takes for float32 and float64."""
    kernels, torch = is_native_available(), torch_status()
    return {
        "native": kernels,
        "numpy": True,
        "torch": torch["version"] is not None,
        "auto": {"float32": "native" if kernels else "numpy", "float64": "numpy"},
        "requested": backends.requested(),
        "instruction_set": instruction_set() if kernels else None,
        "cores": cores(),
        "threads": {name: os.environ.get(name) for name in THREAD_VARIABLES},
        "blas": blas(),
        "numpy_version": np.__version__,
        "torch_version": torch["version"],
        "cuda": torch["cuda"],
    }
