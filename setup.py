"""Compile every ``cython_kernels/*.pyx`` into ``agentmem._kernels``; all other packaging facts are in pyproject.toml.

``AGENTMEM_BUILD_KERNELS=0 pip install .`` builds the portable package, which runs on NumPy alone.
"""

import os
import sys
from pathlib import Path

from setuptools import Extension, setup

SOURCES = Path("cython_kernels")

# -O3 alone leaves float reductions scalar; -ffast-math would swallow NaN and, at link time, set flush-to-zero for the
# whole process.  `#pragma omp simd` reductions are the safe fast set.
GNU_FLAGS = ["-O3", "-fopenmp-simd", "-fno-trapping-math", "-fno-math-errno", "-fvisibility=hidden"]
MSVC_FLAGS = ["/O2", "/openmp:experimental"]


def extensions() -> list[Extension]:
    if os.environ.get("AGENTMEM_BUILD_KERNELS", "1") == "0":
        return []
    import numpy
    from Cython.Build import cythonize

    headers = [str(path) for path in SOURCES.glob("*.h")]
    modules = [
        Extension(
            f"agentmem._kernels.{path.stem}",
            [str(path)],
            include_dirs=[str(SOURCES), numpy.get_include()],
            depends=headers,
            define_macros=[("NPY_NO_DEPRECATED_API", "NPY_1_7_API_VERSION")],
            extra_compile_args=MSVC_FLAGS if sys.platform == "win32" else GNU_FLAGS,
        )
        for path in sorted(SOURCES.glob("*.pyx"))
    ]
    directives = {"language_level": 3, "boundscheck": False, "wraparound": False, "cdivision": True}
    return list(cythonize(modules, build_dir="build/cython", compiler_directives=directives))


setup(ext_modules=extensions())
