"""Words of rows: phrases of a query, its terms at the beginning, ids of a kind; and vectors of tokens.

Slices are bounds-checked, they may be mapped files.
"""

cimport numpy as cnp
from libc.stdint cimport int8_t, int64_t, uint8_t, uint32_t
from libc.stdlib cimport free, malloc

cnp.import_array()

cdef extern from "words.h" nogil:
    ctypedef struct words_t:
        const int64_t *offsets
        const int64_t *rows
        const void *ids
        int64_t n_rows, n_offsets, n_ids
        int wide
    void rows_holding(const words_t *, const uint32_t *, int64_t, uint8_t *)
    void phrases_of(const words_t *, const int64_t *, const float *, const float *, int64_t, double, double *, float *)
    void leads_of(const words_t *, const int64_t *, const float *, int64_t, int64_t, float *)


cdef words_t words_of(cnp.ndarray offsets, cnp.ndarray ids, cnp.ndarray rows):
    cdef words_t words
    words.offsets, words.rows = <int64_t *>cnp.PyArray_DATA(offsets), <int64_t *>cnp.PyArray_DATA(rows)
    words.ids = cnp.PyArray_DATA(ids)
    words.n_rows, words.n_offsets = cnp.PyArray_DIM(rows, 0), cnp.PyArray_DIM(offsets, 0)
    words.n_ids, words.wide = cnp.PyArray_DIM(ids, 0), cnp.PyArray_ITEMSIZE(ids) == 4
    return words


def token_vectors(cnp.ndarray codes not None, cnp.ndarray scales not None, list tokens not None):
    """Return scales[t] * codes[t], float32 (n, d), for n tokens; codes are int8 (V, d), scales float32 (V,).

    Raises: IndexError for a token that the table lacks.
    """
    cdef int64_t token, i, dim = cnp.PyArray_DIM(codes, 1), size = cnp.PyArray_DIM(codes, 0)
    cdef cnp.npy_intp shape[2]
    shape[0], shape[1] = len(tokens), dim
    cdef cnp.ndarray vectors = cnp.PyArray_EMPTY(2, shape, cnp.NPY_FLOAT32, 0)
    cdef float *out = <float *>cnp.PyArray_DATA(vectors)
    cdef const int8_t *row
    cdef float scale
    for token in tokens:
        if not 0 <= token < size:
            raise IndexError(f"the table of {size} tokens lacks {token}")
        row, scale = <int8_t *>cnp.PyArray_DATA(codes) + token * dim, (<float *>cnp.PyArray_DATA(scales))[token]
        for i in range(dim):
            out[i] = scale * row[i]
        out += dim
    return vectors


def holding(cnp.ndarray offsets not None, cnp.ndarray ids not None, cnp.ndarray rows not None,
            cnp.ndarray wanted not None):
    """Return which rows hold one of the wanted ids (uint32, ascending), bool (m,); ids are uint16 or uint32."""
    cdef words_t words = words_of(offsets, ids, rows)
    cdef cnp.npy_intp m = words.n_rows
    cdef cnp.ndarray found = cnp.PyArray_EMPTY(1, &m, cnp.NPY_BOOL, 0)
    rows_holding(&words, <uint32_t *>cnp.PyArray_DATA(wanted), cnp.PyArray_DIM(wanted, 0),
                 <uint8_t *>cnp.PyArray_DATA(found))
    return found


def phrases(cnp.ndarray offsets not None, cnp.ndarray ids not None, cnp.ndarray rows not None,
            cnp.ndarray query not None, cnp.ndarray least not None, cnp.ndarray held, double k1):
    """Return the phrase scores of rows, float32 (m,), for the query's int64 terms (n,) and float32 weights (n - 1,).

    held: float32 (m,), 0 for rows that hold no term, or None.
    """
    cdef words_t words = words_of(offsets, ids, rows)
    cdef cnp.npy_intp m = words.n_rows
    cdef int64_t n_terms = cnp.PyArray_DIM(query, 0)
    cdef cnp.ndarray scores = cnp.PyArray_EMPTY(1, &m, cnp.NPY_FLOAT32, 0)
    cdef double *counts = <double *>malloc((n_terms + 1) * sizeof(double))
    if counts is NULL:
        raise MemoryError("scratch of the kernel of words")
    phrases_of(&words, <int64_t *>cnp.PyArray_DATA(query), <float *>cnp.PyArray_DATA(least),
               NULL if held is None else <float *>cnp.PyArray_DATA(held), n_terms, k1, counts,
               <float *>cnp.PyArray_DATA(scores))
    free(counts)
    return scores


def leads(cnp.ndarray offsets not None, cnp.ndarray ids not None, cnp.ndarray rows not None,
          cnp.ndarray query not None, cnp.ndarray weights not None, int64_t first_words):
    """Return what the query's terms, int64 (n,), that are among the first words of rows weigh together, float32 (m,).

    The weights are float32 (n,).
    """
    cdef words_t words = words_of(offsets, ids, rows)
    cdef cnp.npy_intp m = words.n_rows
    cdef cnp.ndarray scores = cnp.PyArray_EMPTY(1, &m, cnp.NPY_FLOAT32, 0)
    leads_of(&words, <int64_t *>cnp.PyArray_DATA(query), <float *>cnp.PyArray_DATA(weights),
             cnp.PyArray_DIM(query, 0), first_words, <float *>cnp.PyArray_DATA(scores))
    return scores
