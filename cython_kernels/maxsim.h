/* Late interaction (Khattab 2020) over static token vectors: every distinct token is compared with the query once. */
#ifndef AGENTMEM_MAXSIM_H
#define AGENTMEM_MAXSIM_H

#include <stdlib.h>

#include "attention_rows.h"

typedef struct {
    const float *query;          /* (padded, dim): query tokens, padded to a multiple of 4 by zeros */
    int64_t n_query, padded, dim;
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
    float *similar;     /* place -> padded floats */
    float *row;         /* one table row as float */
    float *best;        /* padded floats */
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

/* similar[i] = scale * (query i . table row), four query tokens at a time. */
AGENTMEM_INLINE void compare(const maxsim_t *m, uint32_t token, float *row, float *similar)
{
    const float scale = m->scales ? m->scales[token] : 1.0f;
    const float *x = m->floats ? m->floats + (int64_t)token * m->dim : row;
    if (!m->floats) {
        const int8_t *codes = m->codes + (int64_t)token * m->dim;
#pragma omp simd
        for (int64_t i = 0; i < m->dim; i++)
            row[i] = (float)codes[i];
    }
    for (int64_t q = 0; q < m->padded; q += 4) {
        const float *q0 = m->query + q * m->dim, *q1 = q0 + m->dim, *q2 = q1 + m->dim, *q3 = q2 + m->dim;
        float s0 = 0, s1 = 0, s2 = 0, s3 = 0;
#pragma omp simd reduction(+ : s0, s1, s2, s3)
        for (int64_t i = 0; i < m->dim; i++) {
            s0 += x[i] * q0[i];
            s1 += x[i] * q1[i];
            s2 += x[i] * q2[i];
            s3 += x[i] * q3[i];
        }
        similar[q] = scale * s0, similar[q + 1] = scale * s1, similar[q + 2] = scale * s2, similar[q + 3] = scale * s3;
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
    for (int32_t i = 0; i < seen->used; i++) {
        if (i + MAXSIM_AHEAD < seen->used)
            prefetch_token(m, seen->distinct[i + MAXSIM_AHEAD]);
        compare(m, seen->distinct[i], seen->row, seen->similar + i * m->padded);
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
        for (int64_t q = 0; q < m->padded; q++)
            seen->best[q] = -INFINITY;
        for (int64_t t = start; t < end; t++, place++) {
            if (*place < 0)
                continue;
            const float *similar = seen->similar + *place * m->padded;
            known++;
#pragma omp simd
            for (int64_t q = 0; q < m->padded; q++)
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
    seen.similar = malloc((distinct * m->padded + 1) * sizeof *seen.similar);
    seen.row = malloc((m->dim + 1) * sizeof *seen.row);
    seen.best = malloc((m->padded + 1) * sizeof *seen.best);
    const int ready =
        seen.keys && seen.slots && seen.distinct && seen.places && seen.similar && seen.row && seen.best;
    if (ready) {
        find_distinct(m, &seen);
        compare_distinct(m, &seen);
        score_rows(m, &seen);
    }
    free(seen.keys);
    free(seen.slots);
    free(seen.distinct);
    free(seen.places);
    free(seen.similar);
    free(seen.row);
    free(seen.best);
    return ready ? 0 : -1;
}

#endif
