"""The heads that every search asks, and the order of candidates.  Arrays are checked and made ready here."""

cimport numpy as cnp
from libc.stdint cimport int8_t, int32_t, int64_t, uint8_t, uint64_t
from libc.stdlib cimport calloc, free, malloc

cnp.import_array()

cdef extern from "heads.h" nogil:
    ctypedef struct said_t:
        const float *dense
        const float *lexical
        const float *late
    ctypedef struct heads_t:
        int64_t m, n_around, n_named, n_spans
        said_t own, around
        const float *phrase
        const float *importance
        const float *feedback
        const float *lead
        const uint8_t *first_round
        const uint8_t *inside
        const uint8_t *asks
        const uint8_t *tells_time
        const int64_t *speaker_key
        const int64_t *named
        const double *created_at
        const double *span_starts
        const double *span_ends
        const int32_t *owner
        const int8_t *offset
        float deviation, pool_deviations, semantic, lexical, late, decay, tells, asks_off, lead_factor
        double fades_after, fades_before, recency
    ctypedef struct session_t:
        pass
    ctypedef struct ranked_t:
        int64_t label, place
        float score, dense
    void first_heads "first_stage"(const heads_t *, float *, double *)
    void best_of_sessions(const int64_t *, const float *, const uint8_t *, const uint8_t *, int64_t, session_t *,
                          uint64_t, float *)
    void weigh(float *, const float *, int, int64_t, int64_t, float *)
    void scale_by(const float *, const uint8_t *, int64_t, float *)
    ranked_t *sort_ranked(ranked_t *, ranked_t *, int64_t)


cdef void *ready(object array, int type, int64_t size, list kept) except? NULL:
    """Return the numbers of a one-dimensional array, of a copy where its type or layout is another; kept alive."""
    cdef cnp.ndarray numbers = cnp.PyArray_FROMANY(array, type, 1, 1, cnp.NPY_ARRAY_C_CONTIGUOUS)
    if cnp.PyArray_DIM(numbers, 0) != size:
        raise ValueError(f"expected {size} numbers, not {cnp.PyArray_DIM(numbers, 0)}")
    kept.append(numbers)
    return cnp.PyArray_DATA(numbers)


def first_stage(object evidence, object features, cnp.ndarray table not None, tuple constants):
    """Fill table, float32 (13, m) in C order, with what the first-stage heads say; its row of links stays as it is.

    Args: evidence and features as in agentmem.rerank.evidence; constants: the deviation (NaN where it is unknown),
    deviations of the pool, points of the neighbours' three heads, decay, points for telling a time and off for asking,
    seconds in which a time fades after and before, factor of recency, that of the lead.
    """
    cdef heads_t h
    cdef list kept = []
    cdef object around = evidence.neighbours, spans = features.spans
    cdef int64_t m = h_size(evidence.labels)
    cdef int64_t n = h_size(around.owner)
    cdef double *sums
    if (cnp.PyArray_TYPE(table) != cnp.NPY_FLOAT32 or not cnp.PyArray_IS_C_CONTIGUOUS(table)
            or cnp.PyArray_SIZE(table) < 13 * m):
        raise ValueError("the table is no float32 (13, m) in C order")
    h.m, h.n_around = m, n
    h.own.dense = <float *>ready(evidence.dense, cnp.NPY_FLOAT32, m, kept)
    h.own.lexical = <float *>ready(evidence.lexical, cnp.NPY_FLOAT32, m, kept)
    h.own.late = <float *>ready(evidence.late, cnp.NPY_FLOAT32, m, kept)
    h.around.dense = <float *>ready(around.dense, cnp.NPY_FLOAT32, n, kept)
    h.around.lexical = <float *>ready(around.lexical, cnp.NPY_FLOAT32, n, kept)
    h.around.late = <float *>ready(around.late, cnp.NPY_FLOAT32, n, kept)
    h.owner = <int32_t *>ready(around.owner, cnp.NPY_INT32, n, kept)
    h.offset = <int8_t *>ready(around.offset, cnp.NPY_INT8, n, kept)
    h.phrase = <float *>ready(evidence.phrase, cnp.NPY_FLOAT32, m, kept)
    h.importance = <float *>ready(evidence.importance, cnp.NPY_FLOAT32, m, kept)
    h.feedback = <float *>ready(evidence.feedback, cnp.NPY_FLOAT32, m, kept)
    h.lead = <float *>ready(evidence.lead, cnp.NPY_FLOAT32, m, kept)
    h.first_round = <uint8_t *>ready(evidence.first_round, cnp.NPY_BOOL, m, kept)
    h.inside = NULL if evidence.inside is None else <uint8_t *>ready(evidence.inside, cnp.NPY_BOOL, m, kept)
    h.asks = <uint8_t *>ready(evidence.asks, cnp.NPY_BOOL, m, kept)
    h.tells_time = <uint8_t *>ready(evidence.tells_time, cnp.NPY_BOOL, m, kept)
    h.speaker_key = <int64_t *>ready(evidence.speaker_key, cnp.NPY_INT64, m, kept)
    h.created_at = <double *>ready(evidence.created_at, cnp.NPY_FLOAT64, m, kept)
    h.n_named = h_size(features.named)
    h.named = <int64_t *>ready(features.named, cnp.NPY_INT64, h.n_named, kept)
    h.n_spans = len(spans)
    h.span_starts = <double *>ready([span.start for span in spans], cnp.NPY_FLOAT64, h.n_spans, kept)
    h.span_ends = <double *>ready([span.end for span in spans], cnp.NPY_FLOAT64, h.n_spans, kept)
    (h.deviation, h.pool_deviations, h.semantic, h.lexical, h.late, h.decay, h.tells, h.asks_off, h.fades_after,
     h.fades_before, h.recency, h.lead_factor) = constants
    sums = <double *>calloc(m + 1, sizeof(double))
    if sums is NULL:
        raise MemoryError("scratch of the heads' kernel")
    with nogil:
        first_heads(&h, <float *>cnp.PyArray_DATA(table), sums)
    free(sums)


cdef inline int64_t h_size(cnp.ndarray array) except -1:
    return cnp.PyArray_SIZE(array)


def scaled(cnp.ndarray values not None, cnp.ndarray seen, cnp.ndarray result not None):
    """Set result, float32 (m,), to values scaled to [0, 1] by the least and greatest of those seen (None for all)."""
    cdef list kept = []
    cdef int64_t m = h_size(result)
    scale_by(<float *>ready(values, cnp.NPY_FLOAT32, m, kept),
             NULL if seen is None else <uint8_t *>ready(seen, cnp.NPY_BOOL, m, kept), m,
             <float *>cnp.PyArray_DATA(result))


def weighted(cnp.ndarray table not None, cnp.ndarray weights not None):
    """Multiply table, float32 (heads, m), by weights, float32 (heads, m) or (heads, 1); return its sum, float32 (m,)."""
    cdef int64_t heads = cnp.PyArray_DIM(table, 0), columns = cnp.PyArray_DIM(weights, 1)
    cdef cnp.npy_intp m = cnp.PyArray_DIM(table, 1)
    cdef cnp.ndarray sums = cnp.PyArray_EMPTY(1, &m, cnp.NPY_FLOAT32, 0)
    if not (cnp.PyArray_IS_C_CONTIGUOUS(table) and cnp.PyArray_IS_C_CONTIGUOUS(weights) and columns in (1, m)
            and cnp.PyArray_DIM(weights, 0) >= heads):
        raise ValueError("the weights do not fit the table")
    weigh(<float *>cnp.PyArray_DATA(table), <float *>cnp.PyArray_DATA(weights), columns == 1, heads, m,
          <float *>cnp.PyArray_DATA(sums))
    return sums


def session(object evidence, cnp.ndarray scores not None):
    """Return what the best other candidate of each one's session has above the median, float32 (m,), m above 0."""
    cdef list kept = []
    cdef cnp.npy_intp m = h_size(scores)
    cdef const int64_t *key = <int64_t *>ready(evidence.session_key, cnp.NPY_INT64, m, kept)
    cdef const uint8_t *pool = <uint8_t *>ready(evidence.first_round, cnp.NPY_BOOL, m, kept)
    cdef const float *score = <float *>ready(scores, cnp.NPY_FLOAT32, m, kept)
    cdef const uint8_t *inside = NULL if evidence.inside is None else <uint8_t *>ready(evidence.inside, cnp.NPY_BOOL, m,
                                                                                       kept)
    cdef cnp.ndarray best = cnp.PyArray_EMPTY(1, &m, cnp.NPY_FLOAT32, 0)
    cdef int64_t places = 2
    cdef session_t *sessions
    while places < 2 * m:
        places *= 2
    sessions = <session_t *>calloc(places, sizeof(session_t))
    if sessions is NULL:
        raise MemoryError("scratch of the heads' kernel")
    with nogil:
        best_of_sessions(key, score, pool, inside, m, sessions, places - 1, <float *>cnp.PyArray_DATA(best))
    free(sessions)
    return best


def order(cnp.ndarray scores not None, cnp.ndarray dense not None, cnp.ndarray labels not None):
    """Return the places of the candidates, int64 (m,): greatest score first, then dense, then least label; NaN last."""
    cdef list kept = []
    cdef cnp.npy_intp m = h_size(scores), i
    cdef const float *score = <float *>ready(scores, cnp.NPY_FLOAT32, m, kept)
    cdef const float *similar = <float *>ready(dense, cnp.NPY_FLOAT32, m, kept)
    cdef const int64_t *label = <int64_t *>ready(labels, cnp.NPY_INT64, m, kept)
    cdef cnp.ndarray places = cnp.PyArray_EMPTY(1, &m, cnp.NPY_INT64, 0)
    cdef int64_t *place = <int64_t *>cnp.PyArray_DATA(places)
    cdef ranked_t *ranked = <ranked_t *>malloc((2 * m + 1) * sizeof(ranked_t))
    cdef ranked_t *sorted
    if ranked is NULL:
        raise MemoryError("scratch of the heads' kernel")
    with nogil:
        for i in range(m):
            ranked[i].label, ranked[i].place, ranked[i].score, ranked[i].dense = label[i], i, score[i], similar[i]
        sorted = sort_ranked(ranked, ranked + m, m)
        for i in range(m):
            place[i] = sorted[i].place
    free(ranked)
    return places
