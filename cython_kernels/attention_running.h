/* The running softmax of one query, eight keys of every head at a time. */
#ifndef AGENTMEM_ATTENTION_RUNNING_H
#define AGENTMEM_ATTENTION_RUNNING_H

#include "attention_softmax.h"

enum { MOST_HEADS = 64, RUNNING = MOST_HEADS * EIGHT };

/* How far above a head's top a score may be until the top follows: outputs are seldom rescaled, and no group waits for
   its largest score. */
#define SLACK 8.0f

/* EIGHT lanes a head, one a key of the group.  ``weights`` are exponentials under ``top``, -inf before the first group
   and then the largest score of that one or of a later one. */
typedef struct {
    float scores[RUNNING], weights[RUNNING], top[RUNNING], sum[RUNNING];
} running_t;

/* Tops follow the scores that are above them; outputs and sums shrink. */
AGENTMEM_INLINE void raise_tops(const attention_t *a, int64_t heads, running_t *r)
{
    for (int64_t h = 0; h < heads; h++) {
        const float high = largest(r->scores + h * EIGHT, EIGHT), old = r->top[h * EIGHT];
        if (!(high > old))
            continue;
        if (old > -INFINITY) {
            const float shrink = small_exp(old - high);
            scale_row(a->out + h * a->out_head, a->value_dim, shrink);
            scale_row(r->sum + h * EIGHT, EIGHT, shrink);
        }
        for (int t = 0; t < EIGHT; t++)
            r->top[h * EIGHT + t] = high;
    }
}

/* Products of n keys -> scores -> weights, 0 up to EIGHT; returns the probe. */
AGENTMEM_INLINE float weigh_group(const attention_t *a, int64_t heads, int64_t n, running_t *r)
{
    int32_t above = 0;
    float bad = 0;
#pragma omp simd reduction(+ : bad) reduction(| : above)
    for (int64_t i = 0; i < heads * EIGHT; i++) {
        const float score = r->scores[i] * a->scale;
        bad += score * 0.0f;
        above |= score - r->top[i] > SLACK;
        r->scores[i] = score;
    }
    if (above)
        raise_tops(a, heads, r);
#pragma omp simd
    for (int64_t i = 0; i < heads * EIGHT; i++)
        r->weights[i] = small_exp(r->scores[i] - r->top[i]);
    for (int64_t h = 0; h < heads && n < EIGHT; h++)
        for (int64_t t = n; t < EIGHT; t++)
            r->weights[h * EIGHT + t] = 0;
#pragma omp simd
    for (int64_t i = 0; i < heads * EIGHT; i++)
        r->sum[i] += r->weights[i];
    return bad;
}

#endif
