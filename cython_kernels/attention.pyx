"""Attention kernels: softmax, gather fused with attention, routing.  Arrays come validated: float32, C-contiguous, aligned."""

cimport numpy as cnp
from libc.math cimport sqrt
from libc.stdint cimport int32_t, int64_t, uint32_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcmp

cnp.import_array()

cdef extern from "attention_softmax.h" nogil:
    ctypedef struct attention_bias_t:
        int64_t heads, n_queries, n_keys
        const double *query_place
        const double *key_place
        int causal
        const float *slopes
        int64_t buckets
        const float *query_table
        const float *key_table
        float *bucket_sums
        const float *matrix
        int64_t matrix_head
    ctypedef struct attention_t:
        int64_t heads, n_queries, n_keys, dim, value_dim, groups
        const float *query
        const float *key
        const float *value
        float *out
        int64_t query_row, query_head, key_row, key_head, value_row, value_head, out_row, out_head
        const int64_t *index
        const unsigned char *mask
        int64_t mask_head, mask_row
        const float *query_norm
        const float *key_norm
        float *weights
        float scale
        int causal
        int64_t block, top_k, query_block
        const attention_bias_t *bias
        float dropout
        uint32_t seed
    int64_t attention_scratch(const attention_t *)
    int attention_run(const attention_t *, float *)
    int attention_dots(const float *, const float *, const int64_t *, int64_t, int64_t, float, float *)
    void attention_norms(const float *, int64_t, int64_t, int64_t, int64_t, int64_t, float *)

cdef extern from "attention_one.h" nogil:
    int attention_one_fits(const attention_t *)
    int attention_one(const attention_t *, float *)

cdef extern from "attention_tile.h" nogil:
    int attention_tiles_fit(const attention_t *)
    int64_t attention_tile_block(const attention_t *)
    int attention_tiles(const attention_t *, int64_t)

cdef extern from "attention_route.h" nogil:
    void route_queries(const float *, int64_t, int64_t, int64_t, int64_t, int32_t *, float *, int64_t *)

cdef int64_t LONG_WORK = 40_000          # multiply-adds from which on the GIL is released
cdef int64_t NEAR_BYTES = 24 << 10       # keys of one block that one query leaves in the first-level cache
cdef int64_t ROWS_BY_HEAD = 64           # for one query with several heads, each of which reads a slice of a row
cdef int64_t FAR_BYTES = 1 << 19         # keys and values that many queries share in the second-level cache
cdef enum:
    STACK_FLOATS = 4096


cdef inline float *floats(cnp.ndarray array) noexcept:
    return <float *>cnp.PyArray_DATA(array)


cdef inline cnp.ndarray empty(int ndim, cnp.npy_intp *shape, int kind):
    return cnp.PyArray_EMPTY(ndim, shape, kind, 0)


cdef int run(attention_t *a, int64_t threads=1) except -1:
    """Run with scratch of its own: on the stack where it is small, without the GIL where the work is long."""
    cdef float small[STACK_FLOATS]
    cdef int64_t need = attention_scratch(a)
    cdef float *scratch = small
    cdef int bad
    if attention_one_fits(a):
        if a.heads * a.n_keys * (a.dim + a.value_dim) <= LONG_WORK:
            return attention_one(a, NULL)
        with nogil:
            bad = attention_one(a, NULL)
        return bad
    if attention_tiles_fit(a):
        with nogil:
            bad = attention_tiles(a, threads)
        if bad < 0:
            raise MemoryError("scratch of the attention tiles")
        return bad
    if need > STACK_FLOATS:
        scratch = <float *>malloc(need * sizeof(float))
        if scratch == NULL:
            raise MemoryError(f"{need * 4} bytes of scratch")
    if a.heads * a.n_queries * a.n_keys * (a.dim + a.value_dim) > LONG_WORK:
        with nogil:
            bad = attention_run(a, scratch)
    else:
        bad = attention_run(a, scratch)
    if scratch != small:
        free(scratch)
    return bad


cdef int64_t default_block(attention_t *a) noexcept:
    if attention_tiles_fit(a):
        return min(attention_tile_block(a), a.n_keys)
    cdef int64_t rows = FAR_BYTES // (4 * a.heads * (a.dim + a.value_dim) + 1)
    if a.n_queries == 1:
        rows = ROWS_BY_HEAD if a.heads > 1 else NEAR_BYTES // (4 * a.dim)
    rows -= rows % 8
    return min(max(rows, 16), 1024, max(a.n_keys, 1))


cdef cnp.ndarray lay_out(attention_t *a, int64_t heads, cnp.ndarray query, cnp.ndarray key, cnp.ndarray value,
                         cnp.ndarray out):
    """Fill in shapes, strides and data; return the output, laid out as the query is: ``out`` where its shape fits."""
    cdef bint split = cnp.PyArray_NDIM(query) == 3
    cdef int64_t merged = 1 if split else heads
    cdef cnp.npy_intp shape[3]
    a.heads = heads
    a.n_queries, a.n_keys = cnp.PyArray_DIM(query, split), cnp.PyArray_DIM(key, split)
    a.dim = cnp.PyArray_DIM(query, 1 + split) // merged
    a.groups = cnp.PyArray_DIM(key, 0) if split else cnp.PyArray_DIM(key, 1) // a.dim
    a.value_dim = cnp.PyArray_DIM(value, 1 + split) // (1 if split else a.groups)
    a.query, a.key, a.value = floats(query), floats(key), floats(value)
    a.query_row, a.out_row = merged * a.dim, merged * a.value_dim
    a.key_row, a.value_row = cnp.PyArray_DIM(key, 1 + split), cnp.PyArray_DIM(value, 1 + split)
    a.query_head = a.n_queries * a.dim if split else a.dim
    a.key_head = a.n_keys * a.dim if split else a.dim
    a.value_head = a.n_keys * a.value_dim if split else a.value_dim
    a.out_head = a.n_queries * a.value_dim if split else a.value_dim
    a.index, a.mask, a.weights, a.query_norm, a.key_norm, a.bias = NULL, NULL, NULL, NULL, NULL, NULL
    shape[0], shape[1], shape[2] = heads, a.n_queries, a.value_dim
    if not split:
        shape[0], shape[1] = a.n_queries, heads * a.value_dim
    if out is None or cnp.PyArray_NDIM(out) != 2 + split or memcmp(
            cnp.PyArray_DIMS(out), shape, (2 + split) * sizeof(shape[0])):
        out = empty(2 + split, shape, cnp.NPY_FLOAT32)
    a.out = floats(out)
    return out


cdef inline void *data(object array) noexcept:
    return cnp.PyArray_DATA(array) if array is not None else NULL


cdef cnp.ndarray lay_out_bias(attention_t *a, attention_bias_t *b, tuple given):
    """Have ``b`` added to the scores; return the sums of weights (heads, n_queries, buckets), None where not wanted."""
    cdef cnp.ndarray sums = None
    cdef cnp.npy_intp shape[3]
    queries, keys, causal, slopes, buckets, query_table, key_table, matrix, want_sums = given
    a.bias = b
    b.heads, b.n_queries, b.n_keys, b.causal, b.buckets = a.heads, a.n_queries, a.n_keys, causal, buckets
    b.query_place, b.key_place = <double *>data(queries), <double *>data(keys)
    b.slopes, b.matrix = <float *>data(slopes), <float *>data(matrix)
    b.query_table, b.key_table = <float *>data(query_table), <float *>data(key_table)
    b.matrix_head = a.n_queries * a.n_keys if matrix is not None and len(matrix) > 1 else 0
    if want_sums:
        shape[0], shape[1], shape[2] = a.heads, a.n_queries, b.buckets
        sums = empty(3, shape, cnp.NPY_FLOAT32)
    b.bucket_sums = <float *>data(sums)
    return sums


def attend(cnp.ndarray query not None, cnp.ndarray key not None, cnp.ndarray value not None, int64_t heads,
           double scale, bint causal, int64_t block, int64_t block_q, int64_t top_k, bint cosine, cnp.ndarray mask,
           tuple bias, double dropout, int64_t seed, bint want_weights, cnp.ndarray out=None, int64_t threads=1):
    """Softmax attention; arrays are (n, heads * dim) or (heads, n, dim), key and value with as many heads or fewer.

    Args: block and block_q, 0 chooses by cache size; top_k 0 takes all keys; cosine normalises query and key by head; mask is None
    or bool of shape (n_keys,), (n_queries, n_keys) or (heads, n_queries, n_keys); bias is None or (places of queries and
    keys, causal by place, slopes, buckets, query_table, key_table, matrix, want_sums), as attention_bias.h has them.
    Returns: (output, weights or None, sums of weights by bucket or None, whether something was NaN or infinite).
    """
    cdef attention_t a
    cdef attention_bias_t b
    cdef cnp.ndarray weights = None, sums = None, query_norm, key_norm
    cdef cnp.npy_intp shape[3]
    out = lay_out(&a, heads, query, key, value, out)
    shape[0], shape[1], shape[2] = heads, a.n_queries, a.n_keys
    if mask is not None:
        a.mask = <unsigned char *>cnp.PyArray_DATA(mask)
        a.mask_row = a.n_keys if cnp.PyArray_NDIM(mask) > 1 else 0
        a.mask_head = a.n_queries * a.n_keys if cnp.PyArray_NDIM(mask) > 2 else 0
    if bias is not None:
        sums = lay_out_bias(&a, &b, bias)
    if want_weights:
        weights = empty(3, shape, cnp.NPY_FLOAT32)
        a.weights = floats(weights)
    if cosine:
        query_norm = empty(2, shape, cnp.NPY_FLOAT32)
        shape[0], shape[1] = a.groups, a.n_keys
        key_norm = empty(2, shape, cnp.NPY_FLOAT32)
        a.query_norm, a.key_norm = floats(query_norm), floats(key_norm)
        attention_norms(a.query, heads, a.n_queries, a.dim, a.query_head, a.query_row, floats(query_norm))
        attention_norms(a.key, a.groups, a.n_keys, a.dim, a.key_head, a.key_row, floats(key_norm))
    a.scale, a.causal, a.top_k, a.dropout, a.seed = <float>scale, causal, top_k, <float>dropout, <uint32_t>seed
    a.query_block = block_q
    a.block = max(a.n_keys, 1) if top_k else min(block, max(a.n_keys, 1)) if block else default_block(&a)
    return out, weights, sums, run(&a, threads) != 0


cdef inline bint is_matrix(cnp.ndarray array, int kind, int ndim) noexcept:
    return (cnp.PyArray_TYPE(array) == kind and cnp.PyArray_NDIM(array) == ndim
            and cnp.PyArray_IS_C_CONTIGUOUS(array) and cnp.PyArray_ISALIGNED(array)
            and cnp.PyArray_ISNOTSWAPPED(array))


cdef int64_t live_rows(const int64_t *rows, int64_t n, int64_t limit) noexcept:
    """Return how many rows come before a tail of negative ones; -1 where one is out of range."""
    cdef int64_t j, live = 0
    for j in range(n):
        if rows[j] >= limit or (rows[j] >= 0 and live < j):
            return -1
        live += rows[j] >= 0
    return live


def attend_rows(matrix, rows, query, scale):
    """Gather and attention in one pass: query (dim,) or (b, dim), rows (m,) or (b, m), matrix (N, dim);
    scale None for 1 / sqrt(dim).

    Returns: (output, weights, whether something was not finite); None where an array is not what it must be, or a row
    is out of range: the caller then finds the words.
    """
    if not (cnp.PyArray_Check(matrix) and cnp.PyArray_Check(rows) and cnp.PyArray_Check(query)):
        return None
    cdef int ndim = cnp.PyArray_NDIM(<cnp.ndarray>query), rows_ndim = cnp.PyArray_NDIM(<cnp.ndarray>rows)
    if not (is_matrix(matrix, cnp.NPY_FLOAT32, 2) and (ndim == 1 or ndim == 2) and rows_ndim >= 1
            and is_matrix(query, cnp.NPY_FLOAT32, ndim) and is_matrix(rows, cnp.NPY_INT64, rows_ndim)
            and rows_ndim <= ndim):
        return None
    cdef int64_t batch = cnp.PyArray_DIM(query, 0) if ndim == 2 else 1
    cdef int64_t m = cnp.PyArray_DIM(rows, rows_ndim - 1), limit = cnp.PyArray_DIM(matrix, 0), live, i
    cdef int64_t step = m if rows_ndim == 2 else 0
    cdef const int64_t *index = <int64_t *>cnp.PyArray_DATA(rows)
    cdef attention_t a
    cdef cnp.npy_intp shape[2]
    cdef bint bad = False
    a.dim = a.value_dim = cnp.PyArray_DIM(matrix, 1)
    if cnp.PyArray_DIM(query, ndim - 1) != a.dim or (step and cnp.PyArray_DIM(rows, 0) != batch):
        return None
    shape[0], shape[1] = batch, a.dim
    cdef cnp.ndarray out = empty(ndim, shape + (2 - ndim), cnp.NPY_FLOAT32)
    shape[1] = m
    cdef cnp.ndarray weights = empty(ndim, shape + (2 - ndim), cnp.NPY_FLOAT32)
    a.heads = a.n_queries = 1
    a.query_row = a.query_head = a.key_head = a.value_head = a.out_head = 0
    a.key = a.value = floats(matrix)
    a.key_row = a.value_row = a.out_row = a.dim
    a.mask, a.query_norm, a.key_norm, a.bias = NULL, NULL, NULL, NULL
    a.scale = <float>(1 / sqrt(<double>a.dim)) if scale is None else <float>scale
    a.causal, a.top_k, a.dropout, a.groups, a.query_block = 0, 0, 0, 0, 0
    for i in range(batch):
        a.index = index + i * step
        live = live_rows(a.index, m, limit)
        if live < 0:
            return None
        a.n_keys = live
        a.block = default_block(&a)
        a.query, a.out, a.weights = floats(query) + i * a.dim, floats(out) + i * a.dim, floats(weights) + i * m
        bad |= run(&a)
        for j in range(live, m):
            a.weights[j] = 0
    return out, weights, bad


def dots(cnp.ndarray query not None, cnp.ndarray key not None, double scale):
    """Return (scale * key . query, whether one is not finite): query (dim,), key (n, dim)."""
    cdef cnp.npy_intp n = cnp.PyArray_DIM(key, 0)
    cdef int64_t dim = cnp.PyArray_DIM(key, 1)
    cdef cnp.ndarray out = empty(1, &n, cnp.NPY_FLOAT32)
    cdef const float *q = floats(query)
    cdef const float *k = floats(key)
    cdef float *scores = floats(out)
    cdef int bad
    if n * dim > LONG_WORK:
        with nogil:
            bad = attention_dots(q, k, NULL, n, dim, <float>scale, scores)
    else:
        bad = attention_dots(q, k, NULL, n, dim, <float>scale, scores)
    return out, bad != 0


def route(cnp.ndarray logits not None, int64_t k, int64_t capacity):
    """Return (chosen int32, gates float32), both (n, k), for router logits float32 (n, experts)."""
    cdef cnp.npy_intp shape[2]
    cdef int64_t n = cnp.PyArray_DIM(logits, 0), experts = cnp.PyArray_DIM(logits, 1)
    shape[0], shape[1] = n, k
    cdef cnp.ndarray chosen = empty(2, shape, cnp.NPY_INT32), gates = empty(2, shape, cnp.NPY_FLOAT32)
    cdef int64_t *load = <int64_t *>calloc(experts, sizeof(int64_t))
    if load == NULL:
        raise MemoryError("scratch of the router")
    route_queries(floats(logits), n, experts, k, capacity, <int32_t *>cnp.PyArray_DATA(chosen), floats(gates), load)
    free(load)
    return chosen, gates
