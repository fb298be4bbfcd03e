/* What softmax attention adds to its scores: a slope by distance, tables by bucket of the distance, a given matrix, and
   causal order by place.  Nothing of size n_queries x n_keys is made here. */
#ifndef AGENTMEM_ATTENTION_BIAS_H
#define AGENTMEM_ATTENTION_BIAS_H

#include "attention_rows.h"

typedef struct {
    int64_t heads, n_queries, n_keys;
    const double *query_place, *key_place; /* NULL where nothing below but the matrix is asked for */
    int causal;                  /* a query sees no key of a later place */
    const float *slopes;         /* (heads): score -= slope * |distance|, or NULL */
    int64_t buckets;             /* bucket b holds the distances that round to b - buckets / 2, the ends all beyond */
    const float *query_table;    /* (heads, n_queries, buckets): score += table[bucket(query - key)], or NULL */
    const float *key_table;      /* (heads, n_keys, buckets): score += table[bucket(key - query)], or NULL */
    float *bucket_sums;          /* (heads, n_queries, buckets): sums of weights by bucket(query - key), or NULL */
    const float *matrix;         /* (heads, n_queries, n_keys): score += matrix, or NULL; matrix_head may be 0 */
    int64_t matrix_head;
} attention_bias_t;

/* The distance is rounded half up; the bound comes before the conversion, which C defines within range only. */
AGENTMEM_INLINE int32_t bucket_of(double distance, int64_t buckets)
{
    const double at = floor(distance + 0.5) + (double)(buckets / 2), last = (double)(buckets - 1);
    return (int32_t)(at < 0 ? 0 : at > last ? last : at);
}

/* Add to the scores of one query and head against keys [start, start + n). */
AGENTMEM_INLINE void add_bias(const attention_bias_t *b, int64_t head, int64_t i, int64_t start, int64_t n,
                              float *scores)
{
    const double place = b->query_place ? b->query_place[i] : 0;
    const double *places = b->key_place + (b->key_place ? start : 0);
    if (b->slopes) {
        const float slope = b->slopes[head];
#pragma omp simd
        for (int64_t j = 0; j < n; j++)
            scores[j] -= slope * (float)fabs(place - places[j]);
    }
    if (b->query_table) {
        const float *table = b->query_table + (head * b->n_queries + i) * b->buckets;
        for (int64_t j = 0; j < n; j++)
            scores[j] += table[bucket_of(place - places[j], b->buckets)];
    }
    if (b->key_table) {
        const float *table = b->key_table + (head * b->n_keys + start) * b->buckets;
        for (int64_t j = 0; j < n; j++)
            scores[j] += table[j * b->buckets + bucket_of(places[j] - place, b->buckets)];
    }
    if (b->matrix) {
        const float *row = b->matrix + head * b->matrix_head + i * b->n_keys + start;
#pragma omp simd
        for (int64_t j = 0; j < n; j++)
            scores[j] += row[j];
    }
}

/* Keys of a later place than the query's: -inf.  After the probe, which takes infinity for an error. */
AGENTMEM_INLINE void hide_later(const attention_bias_t *b, int64_t i, int64_t start, int64_t n, float *scores)
{
    const double place = b->query_place[i];
    const double *places = b->key_place + start;
#pragma omp simd
    for (int64_t j = 0; j < n; j++)
        scores[j] = places[j] > place ? -INFINITY : scores[j];
}

AGENTMEM_INLINE float *bucket_row(const attention_bias_t *b, int64_t head, int64_t i)
{
    return b->bucket_sums + (head * b->n_queries + i) * b->buckets;
}

/* Add weights of keys [start, start + n) to their buckets. */
AGENTMEM_INLINE void sum_buckets(const attention_bias_t *b, int64_t head, int64_t i, int64_t start, int64_t n,
                                 const float *weights)
{
    const double place = b->query_place[i];
    const double *places = b->key_place + start;
    float *sums = bucket_row(b, head, i);
    for (int64_t j = 0; j < n; j++)
        sums[bucket_of(place - places[j], b->buckets)] += weights[j];
}

#endif
