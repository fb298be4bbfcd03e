"""Attention over keys and values of few bits.  Arrays come validated: C-contiguous, aligned, of the shapes named."""

cimport numpy as cnp
from libc.stdint cimport int64_t, uint32_t

cnp.import_array()

cdef extern from "quantised.h" nogil:
    ctypedef struct codes_t:
        const uint32_t *words
        const float *scales
        int64_t dim
        int kind
    ctypedef struct quantised_t:
        int64_t n
        codes_t keys, values
        const float *query
        float scale
        float *out
    int quantised_attend(const quantised_t *)


cdef codes_t codes(cnp.ndarray words, cnp.ndarray scales, int bits) noexcept:
    """Integers where there are scales, else bfloat16, whose kind is 1."""
    cdef codes_t c
    c.words = <const uint32_t *>cnp.PyArray_DATA(words)
    c.scales = NULL if scales is None else <const float *>cnp.PyArray_DATA(scales)
    c.dim, c.kind = cnp.PyArray_DIM(words, 1) * 32 // bits, 1 if scales is None else bits
    return c


def attend(cnp.ndarray query not None, cnp.ndarray key_words not None, cnp.ndarray key_scales, int key_bits,
           cnp.ndarray value_words not None, cnp.ndarray value_scales, int value_bits, double scale):
    """Softmax attention: query float32 (n_queries, dim) over uint32 words (n, dim * bits / 32) with float32 scales
    (n, dim / 16), None for bfloat16; values are the keys, or int16.

    Returns: (output float32 (n_queries, value_dim), whether something was NaN or infinite).
    """
    cdef quantised_t a
    cdef cnp.npy_intp shape[2]
    cdef int64_t i
    cdef int bad = 0
    a.keys, a.values = codes(key_words, key_scales, key_bits), codes(value_words, value_scales, value_bits)
    a.n, a.scale = cnp.PyArray_DIM(key_words, 0), <float>scale
    shape[0], shape[1] = cnp.PyArray_DIM(query, 0), a.values.dim
    cdef cnp.ndarray out = cnp.PyArray_EMPTY(2, shape, cnp.NPY_FLOAT32, 0)
    with nogil:
        for i in range(shape[0]):
            a.query = <const float *>cnp.PyArray_DATA(query) + i * a.keys.dim
            a.out = <float *>cnp.PyArray_DATA(out) + i * a.values.dim
            bad |= quantised_attend(&a)
    return out, bad != 0
