/* Attention over a support given as data: per query a few runs of keys.  The runs of a query are laid out as one list of
   rows, so that short runs fill groups of EIGHT together; the cost is proportional to the support. */
#ifndef AGENTMEM_SUPPORT_H
#define AGENTMEM_SUPPORT_H

#include "attention_rows.h"

enum { RUN_START, RUN_COUNT, RUN_STEP, RUN_FIELDS };

typedef struct {
    int64_t heads, n_queries, n_keys, dim, value_dim;
    const float *query, *key, *value;
    float *out;
    int64_t query_row, query_head, key_row, key_head, value_row, value_head, out_row, out_head;
    const int64_t *offsets, *runs; /* query i has runs [offsets[i], offsets[i + 1]) */
    const unsigned char *mask;     /* 1 = keep, or NULL; strides may be 0 */
    int64_t mask_head, mask_row;
    float *weights;                /* (heads, n_queries, n_keys) of zeros, or NULL */
    const float *additive;         /* (heads, dim): scores are a . leaky(q + k), or NULL: they are scale * q . k */
    float scale, slope;
    int64_t *index;                /* scratch: the keys of the largest support */
    float *scores;                 /* scratch: as many, and EIGHT */
} support_t;

/* Lay the runs of query i out as rows; returns how many. */
AGENTMEM_INLINE int64_t list_keys(const support_t *a, int64_t i)
{
    int64_t n = 0;
    for (int64_t r = a->offsets[i]; r < a->offsets[i + 1]; r++) {
        const int64_t *run = a->runs + r * RUN_FIELDS;
        for (int64_t t = 0; t < run[RUN_COUNT]; t++)
            a->index[n++] = run[RUN_START] + t * run[RUN_STEP];
    }
    return n;
}

/* out[j] = sum over c of weight[c] * leaky(x[c] + row j[c]), leaky(y) = max(y, slope * y) for a slope of at most 1. */
AGENTMEM_INLINE void leaky_rows(const float *weight, const float *x, const float *base, const int64_t *index,
                                int64_t stride, int64_t n, int64_t dim, float slope, float *out)
{
    for (int64_t j = 0; j < n; j++) {
        const float *row = base + index[j] * stride;
        float sum = 0;
#pragma omp simd reduction(+ : sum)
        for (int64_t c = 0; c < dim; c++) {
            const float y = x[c] + row[c], low = slope * y;
            sum += weight[c] * (y > low ? y : low);
        }
        out[j] = sum;
    }
}

/* Scores of one head and query over its n keys; returns the probe. */
AGENTMEM_INLINE float score_support(const support_t *a, int64_t head, int64_t i, int64_t n)
{
    const float *q = a->query + head * a->query_head + i * a->query_row, *key = a->key + head * a->key_head;
    if (a->additive)
        leaky_rows(a->additive + head * a->dim, q, key, a->index, a->key_row, n, a->dim, a->slope, a->scores);
    else
        dot_rows(q, key, a->index, a->key_row, n, a->dim, a->scale, a->scores);
    const float bad = probe(a->scores, n);
    if (a->mask) {
        const unsigned char *keep = a->mask + head * a->mask_head + i * a->mask_row;
        for (int64_t j = 0; j < n; j++)
            a->scores[j] = keep[a->index[j]] ? a->scores[j] : -INFINITY;
    }
    return bad;
}

/* One head and query: softmax over the support, zeros where nothing is kept. */
AGENTMEM_INLINE float attend_support(const support_t *a, int64_t head, int64_t i, int64_t n)
{
    float *out = a->out + head * a->out_head + i * a->out_row;
    memset(out, 0, a->value_dim * sizeof *out);
    if (n == 0)
        return 0;
    const float bad = score_support(a, head, i, n), top = largest(a->scores, n);
    if (top == -INFINITY)
        return bad;
    const float sum = exp_row(a->scores, n, top);
    add_rows(out, a->scores, a->value + head * a->value_head, a->index, a->value_row, n, a->value_dim);
    scale_row(out, a->value_dim, 1.0f / sum);
    if (a->weights) {
        float *w = a->weights + (head * a->n_queries + i) * a->n_keys;
        for (int64_t j = 0; j < n; j++)
            w[a->index[j]] += a->scores[j] / sum;
    }
    return bad + probe(out, a->value_dim);
}

/* Returns 1 where a score or an output is NaN or infinite, else 0. */
AGENTMEM_CLONES
static int support_run(const support_t *a)
{
    float bad = 0;
    for (int64_t i = 0; i < a->n_queries; i++) {
        const int64_t n = list_keys(a, i);
        for (int64_t head = 0; head < a->heads; head++)
            bad += attend_support(a, head, i, n);
    }
    return bad != 0;
}

#endif
