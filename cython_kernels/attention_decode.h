/* Flash-decoding: the keys of each query in parts that are attended to on their own, in parallel where asked for, and
   merged by their log-sum-exp: O = sum over t of e^(L_t - L) O_t, L = log sum over t of e^(L_t). */
#ifndef AGENTMEM_ATTENTION_DECODE_H
#define AGENTMEM_ATTENTION_DECODE_H

#include "attention_one.h"
#include "threads.h"

typedef struct {
    const attention_t *a;
    int64_t parts;
    float *outs;    /* (n_queries, parts, heads, value_dim) */
    float *logsums; /* (n_queries, parts, heads): -inf for a part without keys */
    int64_t next;
    int bad;
} decode_t;

/* One part of one query: keys [seen * part / parts, seen * (part + 1) / parts); returns the probe. */
static int decode_part(const decode_t *d, int64_t i, int64_t part)
{
    const attention_t *a = d->a;
    const int64_t seen = keys_seen(a, i), start = seen * part / d->parts, n = seen * (part + 1) / d->parts - start;
    int bad = 0;
    for (int64_t h = 0; h < a->heads; h += MOST_HEADS) {
        attention_t one = *a;
        float *logsum = d->logsums + (i * d->parts + part) * a->heads + h;
        one.heads = a->heads - h < MOST_HEADS ? a->heads - h : MOST_HEADS;
        one.n_queries = 1, one.n_keys = n;
        one.query = a->query + i * a->query_row + h * a->query_head;
        one.key = a->key + start * a->key_row + h * a->key_head;
        one.value = a->value + start * a->value_row + h * a->value_head;
        one.out = d->outs + ((i * d->parts + part) * a->heads + h) * a->value_dim;
        one.out_head = a->value_dim;
        for (int64_t k = 0; k < one.heads; k++)
            logsum[k] = -INFINITY;
        if (n > 0)
            bad |= attention_one(&one, logsum);
    }
    return bad;
}

static void *decode_worker(void *shared)
{
    decode_t *d = shared;
    for (;;) {
#if defined(_WIN32)
        const int64_t at = d->next++;
#else
        const int64_t at = __atomic_fetch_add(&d->next, 1, __ATOMIC_RELAXED);
#endif
        if (at >= d->a->n_queries * d->parts)
            return NULL;
        if (decode_part(d, at / d->parts, at % d->parts))
            d->bad = 1;
    }
}

/* out (heads, value_dim) of query i from its parts; zeros where it has seen nothing; returns the probe. */
AGENTMEM_INLINE float merge_parts(const decode_t *d, int64_t i)
{
    const attention_t *a = d->a;
    float bad = 0;
    for (int64_t h = 0; h < a->heads; h++) {
        const float *logsum = d->logsums + i * d->parts * a->heads + h;
        float *out = a->out + h * a->out_head + i * a->out_row, top = -INFINITY, sum = 0;
        for (int64_t t = 0; t < d->parts; t++)
            top = logsum[t * a->heads] > top ? logsum[t * a->heads] : top;
        memset(out, 0, a->value_dim * sizeof *out);
        for (int64_t t = 0; t < d->parts && top > -INFINITY; t++)
            sum += small_exp(logsum[t * a->heads] - top);
        for (int64_t t = 0; t < d->parts; t++) {
            const float *part = d->outs + ((i * d->parts + t) * a->heads + h) * a->value_dim;
            if (logsum[t * a->heads] == -INFINITY)
                continue;
            const float share = small_exp(logsum[t * a->heads] - top) / sum;
#pragma omp simd
            for (int64_t c = 0; c < a->value_dim; c++)
                out[c] += share * part[c];
        }
        bad += probe(out, a->value_dim);
    }
    return bad;
}

AGENTMEM_CLONES
static int merge_all(const decode_t *d)
{
    float bad = 0;
    for (int64_t i = 0; i < d->a->n_queries; i++)
        bad += merge_parts(d, i);
    return bad != 0;
}

/* Returns 1 where something is NaN or infinite, else 0. */
static int attention_decode(decode_t *d, int64_t threads)
{
    const int64_t items = d->a->n_queries * d->parts;
    d->next = d->bad = 0;
    run_threads(decode_worker, d, threads < items ? threads : items);
    return merge_all(d) | d->bad;
}

#endif
