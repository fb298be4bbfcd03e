/* Late interaction (Khattab 2020) over static token vectors: every distinct token is compared with the query once. */
#ifndef AGENTMEM_MAXSIM_H
#define AGENTMEM_MAXSIM_H

#include <stdlib.h>

#include "maxsim_tokens.h"

AGENTMEM_CLONES
static int all_finite(const float *x, int64_t n)
{
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < n; i++)
        sum += x[i] * 0.0f;
    return sum == 0;
}

/* Tokens of floats are compared four at a time with eight query pieces at a time, two dimensions in one step: the query
   lies as (even / 2, lanes, 2), so that a pair of a token's numbers, repeated, meets the pairs of all query pieces. */
#if defined(__GNUC__)
typedef float pairs_t __attribute__((vector_size(8 * MAXSIM_LANES), aligned(4)));
typedef int64_t bits_t __attribute__((vector_size(8 * MAXSIM_LANES)));
#define PAIRS_MULTIPLY_ADD(sum, pair, column)                     \
    do {                                                          \
        int64_t bits_;                                            \
        memcpy(&bits_, (pair), sizeof bits_);                     \
        const bits_t repeated_ = (bits_t){0} + bits_;             \
        (sum) += (pairs_t)repeated_ * *(const pairs_t *)(column); \
    } while (0)
#else
typedef struct { float at[2 * MAXSIM_LANES]; } pairs_t;
#define PAIRS_MULTIPLY_ADD(sum, pair, column)                              \
    do {                                                                   \
        for (int lane_ = 0; lane_ < 2 * MAXSIM_LANES; lane_++)             \
            (sum).at[lane_] += (pair)[lane_ & 1] * (column)[lane_];        \
    } while (0)
#endif

/* similar[t][q] = scale_t * (token t . query piece q), for MAXSIM_TILE tokens. */
AGENTMEM_INLINE void compare_four(const maxsim_t *m, const uint32_t *tokens, const float *query, int64_t lanes,
                                  float *rows, float *similar)
{
    const int64_t even = m->dim + (m->dim & 1);
    for (int t = 0; t < MAXSIM_TILE; t++)
        memcpy(rows + t * even, m->floats + tokens[t] * m->dim, m->dim * sizeof *rows);
    const float *r0 = rows, *r1 = r0 + even, *r2 = r1 + even, *r3 = r2 + even;
    for (int64_t q = 0; q < lanes; q += MAXSIM_LANES) {
        pairs_t sums[MAXSIM_TILE] = {0};
        const float *column = query + 2 * q;
        for (int64_t i = 0; i < even; i += 2, column += 2 * lanes) {
            PAIRS_MULTIPLY_ADD(sums[0], r0 + i, column);
            PAIRS_MULTIPLY_ADD(sums[1], r1 + i, column);
            PAIRS_MULTIPLY_ADD(sums[2], r2 + i, column);
            PAIRS_MULTIPLY_ADD(sums[3], r3 + i, column);
        }
        for (int t = 0; t < MAXSIM_TILE; t++) {
            const float scale = m->scales ? m->scales[tokens[t]] : 1.0f;
            const float *sum = (const float *)&sums[t];
            for (int lane = 0; lane < MAXSIM_LANES; lane++)
                similar[t * lanes + q + lane] = scale * (sum[2 * lane] + sum[2 * lane + 1]);
        }
    }
}

AGENTMEM_CLONES
static void compare_floats(const maxsim_t *m, const seen_t *seen, const float *query, float *rows)
{
    const uint32_t *tokens = seen->distinct;
    for (int64_t i = 0; i < seen->used; i += MAXSIM_TILE, tokens += MAXSIM_TILE) {
        for (int t = MAXSIM_AHEAD; t < MAXSIM_AHEAD + MAXSIM_TILE; t++)
            prefetch_bytes(m->floats + tokens[t] * m->dim, m->dim * (int64_t)sizeof *m->floats);
        compare_four(m, tokens, query, seen->lanes, rows, seen->similar + i * seen->lanes);
    }
}

/* Four numbers, and the larger ones of two such: compilers do not see it in a loop where there may be NaN. */
#if defined(__SSE__) || defined(_M_X64)
#include <xmmintrin.h>
typedef __m128 four_t;
#define FOUR_OF(x) _mm_set1_ps(x)
#define FOUR_MAX(a, address) _mm_max_ps(_mm_loadu_ps(address), a)
#define FOUR_STORE(address, a) _mm_storeu_ps(address, a)
#else
typedef struct { float at[4]; } four_t;
#define FOUR_OF(x) ((four_t){{x, x, x, x}})
#define FOUR_STORE(address, a) memcpy(address, (a).at, sizeof(four_t))
AGENTMEM_INLINE four_t FOUR_MAX(four_t a, const float *address)
{
    for (int lane = 0; lane < 4; lane++)
        a.at[lane] = address[lane] > a.at[lane] ? address[lane] : a.at[lane];
    return a;
}
#endif

AGENTMEM_CLONES
static void score_rows(const maxsim_t *m, const seen_t *seen)
{
    for (int64_t r = 0; r < m->n_rows; r++) {
        const span_t span = seen->spans[r];
        double score = 0;
        for (int64_t q = 0; q < seen->lanes; q += MAXSIM_LANES) {
            float best[MAXSIM_LANES];
            four_t low = FOUR_OF(-INFINITY), high = low;
            for (int64_t t = span.start; t < span.end; t++) {
                const float *similar = seen->similar + seen->places[t] * seen->lanes + q;
                low = FOUR_MAX(low, similar);
                high = FOUR_MAX(high, similar + 4);
            }
            FOUR_STORE(best, low);
            FOUR_STORE(best + 4, high);
            /* A product of two floats is exact in double: fused or not, the sum is the same. */
            for (int lane = 0; lane < MAXSIM_LANES && q + lane < m->n_query; lane++)
                score += (double)m->weights[q + lane] * (double)(seen->factors[q + lane] * best[lane]);
        }
        m->out[r] = span.start < span.end ? (float)score : NAN;
    }
}

/* Memory that starts where a cache line does, until ``give_back``; NULL where there is none. */
static void *take(seen_t *seen, int64_t count, size_t size)
{
    char *start = malloc((size_t)count * size + 64);
    seen->taken[seen->n_taken++] = start;
    return start ? start + (64 - (uintptr_t)start % 64) % 64 : NULL;
}

static void *take_zeros(seen_t *seen, int64_t count, size_t size)
{
    void *start = take(seen, count, size);
    return start ? memset(start, 0, (size_t)count * size) : NULL;
}

static void give_back(seen_t *seen)
{
    while (seen->n_taken)
        free(seen->taken[--seen->n_taken]);
}

/* Each of these returns whether there was memory. */
static int index_tokens(const maxsim_t *m, seen_t *seen)
{
    if (!(seen->spans = take(seen, m->n_rows, sizeof *seen->spans)))
        return 0;
    find_spans(m, seen);
    const int64_t distinct = seen->total < m->vocabulary ? seen->total : m->vocabulary;
    seen->words = take_zeros(seen, m->vocabulary / 64 + 1, sizeof *seen->words);
    seen->places = take(seen, seen->total, sizeof *seen->places);
    seen->distinct = take(seen, distinct + MAXSIM_TILE + MAXSIM_AHEAD, sizeof *seen->distinct);
    if (!(seen->words && seen->places && seen->distinct))
        return 0;
    mark_tokens(m, seen);
    find_places(m, seen);
    return 1;
}

static int compare_with_codes(const maxsim_t *m, seen_t *seen)
{
    const int64_t dim = m->dim, padded = (dim + MAXSIM_BLOCK - 1) / MAXSIM_BLOCK * MAXSIM_BLOCK;
    CodeQuery *pieces = take(seen, m->n_query, sizeof *pieces);
    int8_t *codes = take(seen, m->n_query, dim);
    const codes_t c = {m->codes, dim, padded, m->scales, pieces, m->n_query, seen->lanes,
                       take_zeros(seen, padded * seen->lanes, sizeof(int16_t)),
                       take_zeros(seen, seen->lanes, sizeof(int32_t)),
                       take_zeros(seen, MAXSIM_TILE * padded, sizeof(int16_t)), m->isa};
    if (!(pieces && codes && c.columns && c.bias && c.rows))
        return 0;
    for (int64_t q = 0; q < m->n_query; q++) {
        pieces[q] = code_query(m->query + q * dim, dim, dim, codes + q * dim);
        seen->factors[q] = pieces[q].scale;
    }
    compare_codes(&c, seen->distinct, seen->used, seen->similar);
    return 1;
}

static int compare_with_floats(const maxsim_t *m, seen_t *seen)
{
    float *columns = take_zeros(seen, (m->dim + 1) * seen->lanes, sizeof *columns);
    float *rows = take_zeros(seen, MAXSIM_TILE * (m->dim + 1), sizeof *rows);
    if (!(columns && rows))
        return 0;
    for (int64_t q = 0; q < m->n_query; q++) {
        for (int64_t i = 0; i < m->dim; i++)
            columns[(i / 2 * seen->lanes + q) * 2 + (i & 1)] = m->query[q * m->dim + i];
        seen->factors[q] = 1;
    }
    compare_floats(m, seen, columns, rows);
    return 1;
}

static int compare_distinct(const maxsim_t *m, seen_t *seen)
{
    seen->lanes = (m->n_query + MAXSIM_LANES - 1) / MAXSIM_LANES * MAXSIM_LANES;
    seen->factors = take(seen, seen->lanes, sizeof *seen->factors);
    seen->similar = take(seen, (seen->used + MAXSIM_TILE) * seen->lanes, sizeof *seen->similar);
    if (!(seen->factors && seen->similar))
        return 0;
    return m->codes ? compare_with_codes(m, seen) : compare_with_floats(m, seen);
}

/* Returns 0, or -1 where there is no memory. */
static int maxsim_run(const maxsim_t *m)
{
    seen_t seen = {0};
    const int ready = index_tokens(m, &seen) && compare_distinct(m, &seen);
    if (ready)
        score_rows(m, &seen);
    give_back(&seen);
    return ready ? 0 : -1;
}

#endif
