/* Softmax attention of one query: eight keys at a time, and while their values are added the next eight are fetched.

   Such a call is bound by how fast keys come from the second-level cache: a group of eight stays in the first one
   between its scores and its values, where both are the same rows. */
#ifndef AGENTMEM_ATTENTION_ONE_H
#define AGENTMEM_ATTENTION_ONE_H

#include "attention_softmax.h"

enum { LINE = 16, MOST_HEADS = 64 };

/* out += sum over t of w[t] * rows[t]; asks for as much of the rows behind ``ahead``, ``stride`` apart. */
AGENTMEM_INLINE void add_and_fetch(float *out, const float w[EIGHT], const float *const rows[EIGHT], int64_t dim,
                                   const float *ahead, int64_t stride)
{
    const float *at[EIGHT];
    int64_t i = 0;
    for (; i + LINE <= dim; i += LINE) {
        for (int t = 0; t < EIGHT; t++) {
            AGENTMEM_PREFETCH(ahead + t * stride + i);
            at[t] = rows[t] + i;
        }
        add_group(out + i, w, at, LINE);
    }
    for (int t = 0; t < EIGHT; t++)
        at[t] = rows[t] + i;
    add_group(out + i, w, at, dim - i);
}

/* Whether this is the way: one query, no gather, no mask or other atom, no weights to return. */
static int attention_one_fits(const attention_t *a)
{
    return a->n_queries == 1 && a->heads <= MOST_HEADS && a->n_keys > 0 && !a->index && !a->mask && !a->query_norm &&
           !a->key_norm && !a->weights && !a->top_k && !a->bias && a->dropout == 0 &&
           (a->groups == 0 || a->groups == a->heads);
}

/* The running softmax of every head: EIGHT lanes each, one a key of the group. */
typedef struct {
    float scores[MOST_HEADS * EIGHT], top[MOST_HEADS * EIGHT], sum[MOST_HEADS * EIGHT];
} running_t;

enum { ONE_SCRATCH = sizeof(running_t) }; /* bytes, on the stack */

/* Scores of keys [j, j + n) for every head, -inf up to EIGHT; returns the probe. */
AGENTMEM_INLINE float score_group(const attention_t *a, int64_t heads, int64_t j, int64_t n, running_t *r)
{
    const float *rows[EIGHT], *at[EIGHT];
    group_rows(a->key + j * a->key_row, NULL, a->key_row, 0, n, rows);
    for (int64_t h = 0; h < heads; h++) {
        for (int t = 0; t < EIGHT; t++)
            at[t] = rows[t] + h * a->key_head;
        dot_group(a->query + h * a->query_head, at, a->dim, r->scores + h * EIGHT);
    }
    scale_row(r->scores, heads * EIGHT, a->scale);
    const float bad = probe(r->scores, heads * EIGHT);
    for (int64_t h = 0; h < heads && n < EIGHT; h++)
        for (int64_t t = n; t < EIGHT; t++)
            r->scores[h * EIGHT + t] = -INFINITY;
    return bad;
}

/* Scores -> exponentials under the running maxima; outputs and sums shrink where a maximum rises. */
AGENTMEM_INLINE void softmax_group(const attention_t *a, int64_t heads, running_t *r)
{
    for (int64_t h = 0; h < heads; h++) {
        const float high = largest(r->scores + h * EIGHT, EIGHT), old = r->top[h * EIGHT];
        if (high > old) {
            const float shrink = small_exp(old - high);
            scale_row(a->out + h * a->out_head, a->value_dim, shrink);
            scale_row(r->sum + h * EIGHT, EIGHT, shrink);
            for (int t = 0; t < EIGHT; t++)
                r->top[h * EIGHT + t] = high;
        }
    }
#pragma omp simd
    for (int64_t i = 0; i < heads * EIGHT; i++) {
        r->scores[i] = small_exp(r->scores[i] - r->top[i]);
        r->sum[i] += r->scores[i];
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
        bad += score_group(a, heads, j, n, &r);
        softmax_group(a, heads, &r);
        group_rows(a->value + j * a->value_row, NULL, a->value_row, 0, n, rows);
        for (int64_t h = 0; h < heads; h++) {
            const float *ahead = a->key + h * a->key_head + next * a->key_row;
            for (int t = 0; t < EIGHT; t++)
                at[t] = rows[t] + h * a->value_head;
            add_and_fetch(a->out + h * a->out_head, r.scores + h * EIGHT, at, a->value_dim, ahead, a->key_row);
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

/* Returns 1 where a query, a score or an output is NaN or infinite, else 0; the usual numbers of heads are constants.
   ``logsum`` (heads), where it is not NULL, gets the logarithm of each sum of exponentials. */
AGENTMEM_CLONES
static int attention_one(const attention_t *a, float *logsum)
{
    if (a->heads == 1)
        return attend_one(a, 1, logsum);
    return a->heads == 8 ? attend_one(a, 8, logsum) : attend_one(a, a->heads, logsum);
}

#endif
