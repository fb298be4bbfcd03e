"""Compile every ``cython_kernels/*.pyx`` into ``agentmem._kernels``; all other packaging facts are in pyproject.toml.

``AGENTMEM_BUILD_KERNELS=0 pip install .`` builds the portable package, which runs on NumPy alone.  ``AGENTMEM_ISA=3``
limits every kernel to x86-64-v3 (AVX2), ``AGENTMEM_ISA=1`` to the compiler's baseline; without it each takes the best
that the processor has, up to x86-64-v4 (AVX-512).
"""

import os
import sys
from pathlib import Path

from setuptools import Extension, setup

SOURCES = Path("cython_kernels")

# -O3 alone leaves float reductions scalar; -ffast-math would swallow NaN and, at link time, set flush-to-zero for the
# whole process.  `#pragma omp simd` reductions are the safe fast set.
GNU_FLAGS = ["-O3", "-fopenmp-simd", "-fno-trapping-math", "-fno-math-errno", "-fvisibility=hidden", "-pthread"]
MSVC_FLAGS = ["/O2", "/openmp:experimental"]


def extensions() -> list[Extension]:
    if os.environ.get("AGENTMEM_BUILD_KERNELS", "1") == "0":
        return []
    import numpy
    from Cython.Build import cythonize

    isa = os.environ.get("AGENTMEM_ISA", "4")
    if isa not in ("1", "3", "4"):
        raise SystemExit(f"AGENTMEM_ISA is {isa!r}; expected 1, 3 or 4")
    headers = [str(path) for path in SOURCES.glob("*.h")]
    modules = [
        Extension(
            f"agentmem._kernels.{path.stem}",
            [str(path)],
            include_dirs=[str(SOURCES), numpy.get_include()],
            depends=headers,
            define_macros=[("NPY_NO_DEPRECATED_API", "NPY_1_7_API_VERSION"), ("AGENTMEM_ISA", isa)],
            extra_compile_args=MSVC_FLAGS if sys.platform == "win32" else GNU_FLAGS,
            extra_link_args=[] if sys.platform == "win32" else ["-pthread"],
        )
        for path in sorted(SOURCES.glob("*.pyx"))
    ]
    directives = {"language_level": 3, "boundscheck": False, "wraparound": False, "cdivision": True}
    return list(cythonize(modules, build_dir="build/cython", compiler_directives=directives))


setup(ext_modules=extensions())
