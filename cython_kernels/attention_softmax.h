/* Softmax attention: several heads, any number of queries, keys in blocks under an online softmax (Dao 2023), with an
   optional gather, mask, causal order, cosine scores, a support of the top_k largest scores, and what attention_bias.h
   adds; several heads may share a head of keys and values. */
#ifndef AGENTMEM_ATTENTION_SOFTMAX_H
#define AGENTMEM_ATTENTION_SOFTMAX_H

#include "attention_bias.h"

enum { QUERY_TILE = 32, ROWS_AHEAD = 48 };

typedef struct {
    int64_t heads, n_queries, n_keys, dim, value_dim;
    int64_t groups;              /* heads of keys and values, 0: as many as heads */
    const float *query, *key, *value;
    float *out;
    int64_t query_row, query_head, key_row, key_head, value_row, value_head, out_row, out_head;
    const int64_t *index;        /* rows of key and value to take, or NULL for all of them in order */
    const unsigned char *mask;   /* 1 = keep, or NULL; strides may be 0 */
    int64_t mask_head, mask_row;
    const float *query_norm, *key_norm; /* factors (heads, n) on the scores, or NULL */
    float *weights;              /* (heads, n_queries, n_keys), or NULL */
    float scale;
    int causal;                  /* query i sees keys up to i + n_keys - n_queries */
    int64_t block, top_k;        /* keys a block; top_k 0: all, otherwise one block holds every key */
    int64_t query_block;         /* queries a block, at most what the kernel takes; 0: its choice */
    const attention_bias_t *bias; /* or NULL */
    float dropout;               /* share of the weights left out */
    uint32_t seed;
} attention_t;

/* Floats of scratch: scores of a block, a copy for the selection, and a running maximum and sum per query and head. */
static int64_t attention_scratch(const attention_t *a)
{
    return 2 * (a->block + EIGHT) + 2 * QUERY_TILE * a->heads;
}

/* The head of keys and values that a head attends to. */
AGENTMEM_INLINE int64_t group_of(const attention_t *a, int64_t head)
{
    return a->groups ? head * a->groups / a->heads : head;
}

/* The value of rank k (1 = largest) among n; x is reordered.  Hoare's selection. */
static float select_rank(float *x, int64_t n, int64_t k)
{
    int64_t low = 0, high = n - 1;
    while (low < high) {
        const float pivot = x[low + (high - low) / 2];
        int64_t i = low, j = high;
        while (i <= j) {
            while (x[i] > pivot)
                i++;
            while (x[j] < pivot)
                j--;
            if (i <= j) {
                const float swap = x[i];
                x[i++] = x[j];
                x[j--] = swap;
            }
        }
        if (k - 1 <= j)
            high = j;
        else if (k - 1 >= i)
            low = i;
        else
            break;
    }
    return x[k - 1];
}

/* Leave the k largest scores, the earlier one on a tie; the rest become -inf. */
static void keep_largest(float *scores, int64_t n, int64_t k, float *copy)
{
    memcpy(copy, scores, n * sizeof *scores);
    const float bar = select_rank(copy, n, k);
    int64_t ties = k;
    for (int64_t j = 0; j < n; j++)
        ties -= scores[j] > bar;
    for (int64_t j = 0; j < n; j++)
        if (scores[j] < bar || (scores[j] == bar && ties-- <= 0))
            scores[j] = -INFINITY;
}

/* Scores of one query and head against keys [start, start + n); returns the probe. */
AGENTMEM_INLINE float block_scores(const attention_t *a, int64_t head, int64_t i, int64_t start, int64_t n,
                                   float *scores)
{
    const float *q = a->query + head * a->query_head + i * a->query_row;
    const float *key = a->key + group_of(a, head) * a->key_head;
    const int64_t *index = a->index ? a->index + start : NULL;
    const float scale = a->query_norm ? a->scale * a->query_norm[head * a->n_queries + i] : a->scale;
    dot_rows(q, index ? key : key + start * a->key_row, index, a->key_row, n, a->dim, scale, scores);
    if (a->key_norm) {
        const float *norm = a->key_norm + group_of(a, head) * a->n_keys + start;
#pragma omp simd
        for (int64_t j = 0; j < n; j++)
            scores[j] *= norm[j];
    }
    if (a->bias)
        add_bias(a->bias, head, i, start, n, scores);
    const float bad = probe(scores, n);
    if (a->bias && a->bias->causal)
        hide_later(a->bias, i, start, n, scores);
    if (a->mask) {
        const unsigned char *keep = a->mask + head * a->mask_head + i * a->mask_row + start;
        for (int64_t j = 0; j < n; j++)
            scores[j] = keep[j] ? scores[j] : -INFINITY;
    }
    return bad;
}

/* What dropout makes of the weight of query i and key j: 0, or 1 / (1 - dropout).  A counter, hashed (lowbias32), decides,
   so that it does not matter which block a key is in. */
AGENTMEM_INLINE float kept(const attention_t *a, int64_t head, int64_t i, int64_t j)
{
    uint32_t x = a->seed + (uint32_t)head * 0x9E3779B1u + (uint32_t)i * 0x85EBCA77u + (uint32_t)j * 0xC2B2AE3Du;
    x = (x ^ (x >> 16)) * 0x7FEB352Du;
    x = (x ^ (x >> 15)) * 0x846CA68Bu;
    x ^= x >> 16;
    return (double)x < (double)a->dropout * 4294967296.0 ? 0.0f : 1.0f / (1.0f - a->dropout);
}

/* Take one block of keys into the running softmax of one query and head. */
AGENTMEM_INLINE float attend_block(const attention_t *a, int64_t head, int64_t i, int64_t start, int64_t n,
                                   float *scores, float *top, float *sum)
{
    float *out = a->out + head * a->out_head + i * a->out_row;
    const float *value = a->value + group_of(a, head) * a->value_head;
    const int buckets = a->bias && a->bias->bucket_sums;
    const int64_t *index = a->index ? a->index + start : NULL;
    if (index) {
        const int64_t first = start ? start + ROWS_AHEAD : 0, last = start + n + ROWS_AHEAD;
        prefetch_rows(a->key, a->index, a->key_row, first, last < a->n_keys ? last : a->n_keys, a->dim);
    }
    const float bad = block_scores(a, head, i, start, n, scores);
    if (a->top_k && a->top_k < n && bad == 0)
        keep_largest(scores, n, a->top_k, scores + a->block + EIGHT);
    if (a->weights)
        memcpy(a->weights + (head * a->n_queries + i) * a->n_keys + start, scores, n * sizeof *scores);
    const float block_top = largest(scores, n);
    if (block_top == -INFINITY)
        return bad;
    if (block_top > *top) {
        const float shrink = small_exp(*top - block_top);
        scale_row(out, a->value_dim, shrink);
        if (buckets)
            scale_row(bucket_row(a->bias, head, i), a->bias->buckets, shrink);
        *sum *= shrink;
        *top = block_top;
    }
    *sum += exp_row(scores, n, *top);
    for (int64_t j = 0; a->dropout > 0 && j < n; j++)
        scores[j] *= kept(a, head, i, start + j);
    if (buckets)
        sum_buckets(a->bias, head, i, start, n, scores);
    add_rows(out, scores, index ? value : value + start * a->value_row, index, a->value_row, n, a->value_dim);
    return bad;
}

/* Divide once, and turn the raw scores kept for the caller into weights; returns the probe of the output. */
AGENTMEM_INLINE float finish_row(const attention_t *a, int64_t head, int64_t i, int64_t seen, float top, float sum)
{
    float *out = a->out + head * a->out_head + i * a->out_row;
    if (sum > 0)
        scale_row(out, a->value_dim, 1.0f / sum);
    if (sum > 0 && a->bias && a->bias->bucket_sums)
        scale_row(bucket_row(a->bias, head, i), a->bias->buckets, 1.0f / sum);
    if (a->weights) {
        float *w = a->weights + (head * a->n_queries + i) * a->n_keys;
        for (int64_t j = 0; j < seen; j++)
            w[j] = sum > 0 ? small_exp(w[j] - top) / sum : 0.0f;
        for (int64_t j = 0; a->dropout > 0 && j < seen; j++)
            w[j] *= kept(a, head, i, j);
        memset(w + seen, 0, (a->n_keys - seen) * sizeof *w);
    }
    return probe(out, a->value_dim);
}

AGENTMEM_INLINE int64_t keys_seen(const attention_t *a, int64_t i)
{
    const int64_t seen = a->causal ? i + 1 + a->n_keys - a->n_queries : a->n_keys;
    return seen < 0 ? 0 : seen < a->n_keys ? seen : a->n_keys;
}

/* Queries [first, last): key blocks outside, so that a block stays in the cache for every query and head. */
AGENTMEM_INLINE float attend_tile(const attention_t *a, int64_t first, int64_t last, float *scratch)
{
    float *top = scratch + 2 * (a->block + EIGHT), *sum = top + QUERY_TILE * a->heads, bad = 0;
    for (int64_t s = 0; s < QUERY_TILE * a->heads; s++)
        top[s] = -INFINITY, sum[s] = 0;
    for (int64_t head = 0; head < a->heads; head++)
        for (int64_t i = first; i < last; i++) {
            bad += probe(a->query + head * a->query_head + i * a->query_row, a->dim);
            memset(a->out + head * a->out_head + i * a->out_row, 0, a->value_dim * sizeof(float));
            if (a->bias && a->bias->bucket_sums)
                memset(bucket_row(a->bias, head, i), 0, a->bias->buckets * sizeof(float));
        }
    for (int64_t start = 0; start < a->n_keys; start += a->block)
        for (int64_t head = 0; head < a->heads; head++)
            for (int64_t i = first; i < last; i++) {
                const int64_t left = keys_seen(a, i) - start, n = left < a->block ? left : a->block;
                const int64_t s = head * QUERY_TILE + i - first;
                if (n > 0)
                    bad += attend_block(a, head, i, start, n, scratch, top + s, sum + s);
            }
    for (int64_t head = 0; head < a->heads; head++)
        for (int64_t i = first; i < last; i++) {
            const int64_t s = head * QUERY_TILE + i - first;
            bad += finish_row(a, head, i, keys_seen(a, i), top[s], sum[s]);
        }
    return bad;
}

/* Returns 1 where a query, a score or an output is NaN or infinite, else 0. */
AGENTMEM_CLONES
static int attention_run(const attention_t *a, float *scratch)
{
    float bad = 0;
    const int64_t tile = a->query_block && a->query_block < QUERY_TILE ? a->query_block : QUERY_TILE;
    for (int64_t first = 0; first < a->n_queries; first += tile) {
        const int64_t last = first + tile < a->n_queries ? first + tile : a->n_queries;
        bad += attend_tile(a, first, last, scratch);
    }
    return bad != 0;
}

/* out[j] = scale * (query . row j); returns 1 where one is not finite. */
AGENTMEM_CLONES
static int attention_dots(const float *query, const float *key, const int64_t *index, int64_t n, int64_t dim,
                          float scale, float *out)
{
    dot_rows(query, key, index, dim, n, dim, scale, out);
    return probe(out, n) != 0;
}

/* norms[head, j] = 1 / |row j of that head|, 0 for a row of zeros. */
AGENTMEM_CLONES
static void attention_norms(const float *x, int64_t heads, int64_t n, int64_t dim, int64_t head, int64_t row,
                            float *norms)
{
    for (int64_t h = 0; h < heads; h++)
        for (int64_t j = 0; j < n; j++) {
            const float *at = x + h * head + j * row;
            float sum = 0;
#pragma omp simd reduction(+ : sum)
            for (int64_t i = 0; i < dim; i++)
                sum += at[i] * at[i];
            norms[h * n + j] = sum > 0 ? 1.0f / sqrtf(sum) : 0.0f;
        }
}

#endif
