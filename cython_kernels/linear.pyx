"""Feature maps of linear attention.  Arrays come validated and finite: float32, C-contiguous, aligned."""

cimport numpy as cnp
from libc.stdint cimport int64_t

cnp.import_array()

cdef extern from "linear.h" nogil:
    void linear_elu(const float *, int64_t, float *)
    void linear_exp(float *, const float *, int64_t, int64_t)
    void linear_waves(const float *, int64_t, int64_t, float, float *)
    void linear_ramp(const float *, const float *, const float *, int64_t, int64_t, float *)
    void linear_group_softmax(float *, const float *, const int64_t *, int64_t, int64_t)


cdef inline float *floats(cnp.ndarray array) noexcept:
    return <float *>cnp.PyArray_DATA(array)


cdef cnp.ndarray wider(cnp.ndarray x, int64_t times):
    """Return a new array of as many rows, ``times`` as wide."""
    cdef cnp.npy_intp shape[2]
    shape[0], shape[1] = cnp.PyArray_DIM(x, 0), times * cnp.PyArray_DIM(x, 1)
    return cnp.PyArray_EMPTY(2, shape, cnp.NPY_FLOAT32, 0)


def elu(cnp.ndarray x not None):
    """Return elu(x) + 1, (n, dim)."""
    cdef cnp.ndarray out = wider(x, 1)
    cdef const float *rows = floats(x)
    cdef float *features = floats(out)
    cdef int64_t count = cnp.PyArray_SIZE(x)
    with nogil:
        linear_elu(rows, count, features)
    return out


def shifted_exp(cnp.ndarray x not None, cnp.ndarray shift not None):
    """Replace x (n, width) by exp(x - shift), shift (n,) being at least the largest of each row."""
    cdef float *rows = floats(x)
    cdef const float *shifts = floats(shift)
    cdef int64_t n = cnp.PyArray_DIM(x, 0), width = cnp.PyArray_DIM(x, 1)
    with nogil:
        linear_exp(rows, shifts, n, width)


def waves(cnp.ndarray x not None, double factor):
    """Return factor * [sin x, cos x], (n, 2 * width)."""
    cdef cnp.ndarray out = wider(x, 2)
    cdef const float *rows = floats(x)
    cdef float *features = floats(out)
    cdef int64_t n = cnp.PyArray_DIM(x, 0), width = cnp.PyArray_DIM(x, 1)
    with nogil:
        linear_waves(rows, n, width, <float>factor, features)
    return out


def ramp(cnp.ndarray x not None, cnp.ndarray cosine not None, cnp.ndarray sine not None):
    """Return [cosine * relu(x), sine * relu(x)], (n, 2 * width); cosine and sine are (n,)."""
    cdef cnp.ndarray out = wider(x, 2)
    cdef const float *rows = floats(x)
    cdef const float *cosines = floats(cosine)
    cdef const float *sines = floats(sine)
    cdef float *features = floats(out)
    cdef int64_t n = cnp.PyArray_DIM(x, 0), width = cnp.PyArray_DIM(x, 1)
    with nogil:
        linear_ramp(rows, cosines, sines, n, width, features)
    return out


def group_softmax(cnp.ndarray scores not None, cnp.ndarray top not None, cnp.ndarray offsets not None):
    """Replace scores (n, offsets[-1]) by the softmax within each group of columns, times top (n, groups)."""
    cdef float *rows = floats(scores)
    cdef const float *tops = floats(top)
    cdef const int64_t *at = <int64_t *>cnp.PyArray_DATA(offsets)
    cdef int64_t n = cnp.PyArray_DIM(scores, 0), groups = cnp.PyArray_DIM(top, 1)
    with nogil:
        linear_group_softmax(rows, tops, at, n, groups)
