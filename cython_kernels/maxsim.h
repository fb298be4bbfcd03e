/* Late interaction (Khattab 2020) over static token vectors: every distinct token is compared with the query once. */
#ifndef AGENTMEM_MAXSIM_H
#define AGENTMEM_MAXSIM_H

#include <stdlib.h>
#include <string.h>

#include "attention_rows.h"

typedef struct {
    const float *query;          /* (n_query, dim) */
    int64_t n_query, dim;
    const float *weights;        /* (n_query,) */
    const int8_t *codes;         /* (vocabulary, dim), or NULL */
    const float *floats;         /* (vocabulary, dim) where codes is NULL */
    const float *scales;         /* (vocabulary,), or NULL for 1 */
    int64_t vocabulary;
    const int64_t *offsets;      /* (n_offsets,) */
    const void *tokens;          /* uint16 or uint32, n_tokens of them */
    int64_t n_offsets, n_tokens;
    int wide;
    const int64_t *rows;         /* rows to score, or NULL for all in order */
    int64_t n_rows;
    float *out;                  /* (n_rows,) */
} maxsim_t;

/* The distinct tokens of all rows, and the place of each token among them. */
typedef struct {
    uint32_t *keys;     /* hash table: token + 1, 0 for a free place */
    int32_t *slots;     /* hash table: place among the distinct */
    uint32_t *distinct;
    int32_t *places;    /* one for each token of the rows, in order; -1 for one outside the vocabulary */
    float *similar;     /* place -> lanes floats */
    float *query;       /* (even / 2, lanes, 2): the query, zeros in what is not there */
    float *rows;        /* a tile of table rows as floats */
    float *best;        /* lanes floats */
    int64_t lanes;      /* query tokens, rounded up */
    uint64_t mask;
    int32_t used;
} seen_t;

#define MAXSIM_AHEAD 8  /* table rows are asked for this many tokens before they are read */

AGENTMEM_INLINE uint32_t token_at(const maxsim_t *m, int64_t t)
{
    return m->wide ? ((const uint32_t *)m->tokens)[t] : ((const uint16_t *)m->tokens)[t];
}

/* The tokens of a row: nothing where the offsets, which may come from a file, point outside. */
AGENTMEM_INLINE void row_tokens(const maxsim_t *m, int64_t r, int64_t *start, int64_t *end)
{
    const int64_t row = m->rows ? m->rows[r] : r;
    *start = m->offsets[row];
    *end = m->offsets[row + 1];
    if (*start < 0 || *end > m->n_tokens || *end < *start)
        *start = *end = 0;
}

/* Tokens are compared four at a time with eight query tokens at a time, two dimensions in one step: the query lies as
   (even / 2, lanes, 2), so that a pair of a token's numbers, repeated, meets the pairs of all query tokens. */
#define MAXSIM_LANES 8
#define MAXSIM_TILE 4

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

/* One table row as floats. */
AGENTMEM_INLINE void read_token(const maxsim_t *m, uint32_t token, float *row)
{
    if (m->floats) {
        memcpy(row, m->floats + (int64_t)token * m->dim, m->dim * sizeof *row);
        return;
    }
    const int8_t *codes = m->codes + (int64_t)token * m->dim;
#pragma omp simd
    for (int64_t i = 0; i < m->dim; i++)
        row[i] = (float)codes[i];
}

/* similar[t][q] = scale_t * (token t . query token q) for a tile of tokens. */
AGENTMEM_INLINE void compare_tile(const maxsim_t *m, const uint32_t *tokens, int count, const float *query,
                                  int64_t lanes, float *rows, float *similar)
{
    const int64_t even = m->dim + (m->dim & 1);
    for (int t = 0; t < count; t++)
        read_token(m, tokens[t], rows + t * even);
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
        for (int t = 0; t < count; t++) {
            const float scale = m->scales ? m->scales[tokens[t]] : 1.0f;
            const float *sum = (const float *)&sums[t];
            for (int lane = 0; lane < MAXSIM_LANES; lane++)
                similar[t * lanes + q + lane] = scale * (sum[2 * lane] + sum[2 * lane + 1]);
        }
    }
}

AGENTMEM_INLINE int32_t place_of(seen_t *seen, uint32_t token)
{
    uint64_t at = (token * UINT64_C(0x9E3779B97F4A7C15)) >> 32;
    while (seen->keys[at & seen->mask] != token + 1) {
        if (seen->keys[at & seen->mask] == 0) {
            seen->keys[at & seen->mask] = token + 1;
            seen->distinct[seen->used] = token;
            return seen->slots[at & seen->mask] = seen->used++;
        }
        at++;
    }
    return seen->slots[at & seen->mask];
}

static void find_distinct(const maxsim_t *m, seen_t *seen)
{
    int32_t *place = seen->places;
    int64_t start, end;
    for (int64_t r = 0; r < m->n_rows; r++) {
        row_tokens(m, r, &start, &end);
        for (int64_t t = start; t < end; t++) {
            const uint32_t token = token_at(m, t);
            *place++ = token < m->vocabulary ? place_of(seen, token) : -1;
        }
    }
}

AGENTMEM_INLINE void prefetch_token(const maxsim_t *m, uint32_t token)
{
    const int64_t width = m->dim * (m->floats ? (int64_t)sizeof(float) : 1);
    const char *row = (m->floats ? (const char *)m->floats : (const char *)m->codes) + token * width;
    for (int64_t byte = 0; byte < width; byte += 64)
        AGENTMEM_PREFETCH(row + byte);
}

AGENTMEM_CLONES
static void compare_distinct(const maxsim_t *m, const seen_t *seen)
{
    for (int32_t i = 0; i < seen->used; i += MAXSIM_TILE) {
        const int count = seen->used - i < MAXSIM_TILE ? seen->used - i : MAXSIM_TILE;
        for (int32_t t = i + MAXSIM_AHEAD; t < i + MAXSIM_AHEAD + MAXSIM_TILE && t < seen->used; t++)
            prefetch_token(m, seen->distinct[t]);
        compare_tile(m, seen->distinct + i, count, seen->query, seen->lanes, seen->rows,
                     seen->similar + i * seen->lanes);
    }
}

AGENTMEM_CLONES
static void score_rows(const maxsim_t *m, const seen_t *seen)
{
    const int32_t *place = seen->places;
    for (int64_t r = 0; r < m->n_rows; r++) {
        int64_t start, end, known = 0;
        float score = 0;
        row_tokens(m, r, &start, &end);
        for (int64_t q = 0; q < seen->lanes; q++)
            seen->best[q] = -INFINITY;
        for (int64_t t = start; t < end; t++, place++) {
            if (*place < 0)
                continue;
            const float *similar = seen->similar + *place * seen->lanes;
            known++;
#pragma omp simd
            for (int64_t q = 0; q < seen->lanes; q++)
                seen->best[q] = similar[q] > seen->best[q] ? similar[q] : seen->best[q];
        }
        for (int64_t q = 0; known && q < m->n_query; q++)
            score += m->weights[q] * seen->best[q];
        m->out[r] = score;
    }
}

/* Returns 0, or -1 where there is no memory. */
static int maxsim_run(const maxsim_t *m)
{
    int64_t total = 0, places = 16, start, end;
    seen_t seen = {0};
    for (int64_t r = 0; r < m->n_rows; r++) {
        row_tokens(m, r, &start, &end);
        total += end - start;
    }
    const int64_t distinct = total < m->vocabulary ? total : m->vocabulary;
    while (places < 2 * distinct)
        places *= 2;
    seen.mask = (uint64_t)places - 1;
    seen.keys = calloc(places, sizeof *seen.keys);
    seen.slots = malloc(places * sizeof *seen.slots);
    seen.distinct = malloc((distinct + 1) * sizeof *seen.distinct);
    seen.places = malloc((total + 1) * sizeof *seen.places);
    seen.lanes = (m->n_query + MAXSIM_LANES - 1) / MAXSIM_LANES * MAXSIM_LANES;
    seen.similar = malloc((distinct * seen.lanes + 1) * sizeof *seen.similar);
    seen.query = calloc((m->dim + 1) * seen.lanes + 1, sizeof *seen.query);
    seen.rows = calloc(MAXSIM_TILE * (m->dim + 1) + 1, sizeof *seen.rows);
    seen.best = malloc((seen.lanes + 1) * sizeof *seen.best);
    const int ready = seen.keys && seen.slots && seen.distinct && seen.places && seen.similar && seen.query &&
                      seen.rows && seen.best;
    if (ready) {
        for (int64_t q = 0; q < m->n_query; q++)
            for (int64_t i = 0; i < m->dim; i++)
                seen.query[(i / 2 * seen.lanes + q) * 2 + (i & 1)] = m->query[q * m->dim + i];
        find_distinct(m, &seen);
        compare_distinct(m, &seen);
        score_rows(m, &seen);
    }
    free(seen.keys);
    free(seen.slots);
    free(seen.distinct);
    free(seen.places);
    free(seen.similar);
    free(seen.query);
    free(seen.rows);
    free(seen.best);
    return ready ? 0 : -1;
}

#endif
