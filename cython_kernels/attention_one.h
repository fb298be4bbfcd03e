/* Softmax attention of one query: eight keys at a time, and while their values are added the next eight are fetched.

   A group of eight stays in the first-level cache between its scores and its values, where both are the same rows.
   attention_one_wide.h does the same on AVX-512, where rows lie as it needs them. */
#ifndef AGENTMEM_ATTENTION_ONE_H
#define AGENTMEM_ATTENTION_ONE_H

#include "attention_one_wide.h"

enum { LINE = 16 };

#if defined(LANES_PICK)
typedef int32_t places_t __attribute__((vector_size(32)));

static const int32_t PLACES[EIGHT] = {0, 1, 2, 3, 4, 5, 6, 7};

/* Lanes [first, last) of x; the others are zero. */
AGENTMEM_INLINE void keep_lanes(lanes_t *x, int64_t first, int64_t last)
{
    const places_t at = *(const places_t *)PLACES;
    *x = (lanes_t)((places_t)*x & (at >= (int32_t)first) & (at < (int32_t)last));
}

/* Numbers before the rows' first address that a register is aligned to: arrays are aligned to 16 bytes only, and a load
   across two cache lines takes twice as long. */
AGENTMEM_INLINE int64_t before_aligned(const float *row)
{
    return (-(intptr_t)row & 31) / (int64_t)sizeof(float);
}

/* sums[t] = x . rows[t]; dim is EIGHT at least. */
AGENTMEM_INLINE void dot_aligned(const float *x, const float *const rows[EIGHT], int64_t dim, float sums[EIGHT])
{
    lanes_t s[EIGHT] = {{0}}, q;
    int64_t i = before_aligned(rows[0]);
    if (i > 0) {
        q = LANES(x);
        keep_lanes(&q, 0, i);
#pragma GCC unroll 8
        for (int t = 0; t < EIGHT; t++)
            s[t] = q * LANES(rows[t]);
    }
    for (; i + EIGHT <= dim; i += EIGHT) {
        q = LANES(x + i);
#pragma GCC unroll 8
        for (int t = 0; t < EIGHT; t++)
            s[t] += q * LANES(rows[t] + i);
    }
    if (i < dim) {
        q = LANES(x + dim - EIGHT);
        keep_lanes(&q, EIGHT - (dim - i), EIGHT);
#pragma GCC unroll 8
        for (int t = 0; t < EIGHT; t++)
            s[t] += q * LANES(rows[t] + dim - EIGHT);
    }
    const lanes_t low = LANES_FOLD_PAIRS(LANES_FOLD(s[0], s[1]), LANES_FOLD(s[2], s[3]));
    const lanes_t high = LANES_FOLD_PAIRS(LANES_FOLD(s[4], s[5]), LANES_FOLD(s[6], s[7]));
    *(lanes_t *)sums = LANES_FOLD_HALVES(low, high);
}

/* out[i ...] += lanes [first, last) of the sum over t of w[t] * rows[t][i ...] */
AGENTMEM_INLINE void add_lanes(float *out, const float w[EIGHT], const float *const rows[EIGHT], int64_t i,
                               int64_t first, int64_t last)
{
    lanes_t even = w[0] * LANES(rows[0] + i), odd = w[1] * LANES(rows[1] + i);
    even += w[2] * LANES(rows[2] + i), odd += w[3] * LANES(rows[3] + i);
    even += w[4] * LANES(rows[4] + i), odd += w[5] * LANES(rows[5] + i);
    even += w[6] * LANES(rows[6] + i), odd += w[7] * LANES(rows[7] + i);
    even += odd;
    if (first > 0 || last < EIGHT)
        keep_lanes(&even, first, last);
    *(lanes_t *)(out + i) += even;
}

/* out += sum over t of w[t] * rows[t], dim EIGHT at least; asks for as much of the rows behind ``ahead``, ``stride``
   apart. */
AGENTMEM_INLINE void add_and_fetch(float *out, const float w[EIGHT], const float *const rows[EIGHT], int64_t dim,
                                   const float *ahead, int64_t stride)
{
    int64_t i = before_aligned(rows[0]);
    if (i > 0)
        add_lanes(out, w, rows, 0, 0, i);
    for (; i + LINE <= dim; i += LINE) {
        for (int t = 0; t < EIGHT; t++)
            AGENTMEM_PREFETCH(ahead + t * stride + i);
        add_lanes(out, w, rows, i, 0, EIGHT);
        add_lanes(out, w, rows, i + EIGHT, 0, EIGHT);
    }
    if (i + EIGHT <= dim) {
        add_lanes(out, w, rows, i, 0, EIGHT);
        i += EIGHT;
    }
    if (i < dim)
        add_lanes(out, w, rows, dim - EIGHT, EIGHT - (dim - i), EIGHT);
}
#else
#define dot_aligned dot_group
#define add_and_fetch(out, w, rows, dim, ahead, stride) ((void)(ahead), (void)(stride), add_group(out, w, rows, dim))
#endif

/* Whether this is the way: one query, no gather, no mask or other atom, no weights to return. */
static int attention_one_fits(const attention_t *a)
{
    return a->n_queries == 1 && a->heads <= MOST_HEADS && a->n_keys > 0 && !a->index && !a->mask && !a->query_norm &&
           !a->key_norm && !a->weights && !a->top_k && !a->bias && a->dropout == 0 &&
           (a->groups == 0 || a->groups == a->heads);
}

/* Bytes of scratch that such a call touches, on the stack. */
static int64_t attention_one_scratch(const attention_t *a)
{
    const int64_t laid_out = attention_wide_fits(a) ? a->dim + a->value_dim + 2 * SIXTEEN : 0;
    return a->heads * (4 * EIGHT + laid_out) * (int64_t)sizeof(float);
}

/* Products of keys [j, j + n) for every head, the last one's up to EIGHT. */
AGENTMEM_INLINE void score_group(const attention_t *a, int64_t heads, int64_t j, int64_t n, running_t *r)
{
    const float *rows[EIGHT], *at[EIGHT];
    group_rows(a->key + j * a->key_row, NULL, a->key_row, 0, n, rows);
    for (int64_t h = 0; h < heads; h++) {
        for (int t = 0; t < EIGHT; t++)
            at[t] = rows[t] + h * a->key_head;
        if (a->dim < EIGHT)
            dot_group(a->query + h * a->query_head, at, a->dim, r->scores + h * EIGHT);
        else
            dot_aligned(a->query + h * a->query_head, at, a->dim, r->scores + h * EIGHT);
    }
}

AGENTMEM_INLINE int attend_one(const attention_t *a, int64_t heads, float *logsum)
{
    running_t r;
    float bad = 0;
    for (int64_t i = 0; i < heads * EIGHT; i++)
        r.sum[i] = 0, r.top[i] = -INFINITY;
    for (int64_t h = 0; h < heads; h++) {
        bad += probe(a->query + h * a->query_head, a->dim);
        memset(a->out + h * a->out_head, 0, a->value_dim * sizeof(float));
    }
    for (int64_t j = 0; j < a->n_keys; j += EIGHT) {
        const int64_t n = a->n_keys - j < EIGHT ? a->n_keys - j : EIGHT, next = n + EIGHT < a->n_keys - j ? j + EIGHT : j;
        const float *rows[EIGHT], *at[EIGHT];
        score_group(a, heads, j, n, &r);
        bad += weigh_group(a, heads, n, &r);
        group_rows(a->value + j * a->value_row, NULL, a->value_row, 0, n, rows);
        for (int64_t h = 0; h < heads; h++) {
            const float *ahead = a->key + h * a->key_head + next * a->key_row;
            for (int t = 0; t < EIGHT; t++)
                at[t] = rows[t] + h * a->value_head;
            if (a->value_dim < EIGHT)
                add_group(a->out + h * a->out_head, r.weights + h * EIGHT, at, a->value_dim);
            else
                add_and_fetch(a->out + h * a->out_head, r.weights + h * EIGHT, at, a->value_dim, ahead, a->key_row);
        }
    }
    for (int64_t h = 0; h < heads; h++) {
        float sum = 0;
        for (int t = 0; t < EIGHT; t++)
            sum += r.sum[h * EIGHT + t];
        scale_row(a->out + h * a->out_head, a->value_dim, 1.0f / sum);
        if (logsum)
            logsum[h] = r.top[h * EIGHT] + logf(sum);
        bad += probe(a->out + h * a->out_head, a->value_dim);
    }
    return bad != 0;
}

/* The same for heads of ``dim`` numbers, a constant: short heads spend most of their time around their loops. */
AGENTMEM_INLINE int attend_heads(const attention_t *a, int64_t dim, float *logsum)
{
    attention_t known = *a;
    known.dim = known.value_dim = dim;
    return attend_one(&known, a->heads, logsum);
}

/* Returns 1 where a query, a score or an output is NaN or infinite, else 0; one head, and the usual lengths of several,
   are constants.  ``logsum`` (heads), where it is not NULL, gets the logarithm of each sum of exponentials. */
AGENTMEM_CLONES
static int attention_one(const attention_t *a, float *logsum)
{
#if defined(AGENTMEM_WIDE)
    if (attention_wide_fits(a))
        return attention_wide(a, logsum);
#endif
    if (a->heads == 1)
        return attend_one(a, 1, logsum);
    switch (a->dim == a->value_dim ? a->dim : 0) {
    case 32:
        return attend_heads(a, 32, logsum);
    case 48:
        return attend_heads(a, 48, logsum);
    case 64:
        return attend_heads(a, 64, logsum);
    case 96:
        return attend_heads(a, 96, logsum);
    default:
        return attend_one(a, a->heads, logsum);
    }
}

#endif
