/* What late interaction is asked, and the distinct tokens of the rows to score, each with a place of its own. */
#ifndef AGENTMEM_MAXSIM_TOKENS_H
#define AGENTMEM_MAXSIM_TOKENS_H

#include "maxsim_codes.h"

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
    int isa;                     /* the highest instruction set that codes take, as AGENTMEM_ISA counts */
    float *out;                  /* (n_rows,) */
} maxsim_t;

/* The tokens of a row: places[start] to places[end - 1]. */
typedef struct {
    int64_t start, end;
} span_t;

/* Which of 64 neighbouring tokens came, and how many distinct ones are below them. */
typedef struct {
    uint64_t bits;
    uint32_t before;
} word_t;

#define MAXSIM_TAKEN 16 /* pieces of memory of a call, at most */

/* The distinct tokens of all rows, and how similar they are to the query. */
typedef struct {
    span_t *spans;       /* (n_rows,) */
    int64_t total, used, lanes; /* known tokens and distinct ones; query pieces, rounded up */
    word_t *words;       /* (vocabulary / 64 + 1,) */
    uint32_t *places;    /* (total,): the places of all rows' tokens among the distinct ones */
    uint32_t *distinct;  /* (used,), and the last one again MAXSIM_TILE + MAXSIM_AHEAD times */
    float *similar;      /* (used, rounded up to a tile, lanes) */
    float *factors;      /* (lanes,): what a piece's similarities are still to be multiplied with */
    void *taken[MAXSIM_TAKEN];
    int n_taken;
} seen_t;

#if defined(__GNUC__)
#define COUNT_BITS(word) __builtin_popcountll(word)
#define LOWEST_BIT(word) __builtin_ctzll(word)
#else
AGENTMEM_INLINE int COUNT_BITS(uint64_t word)
{
    word -= word >> 1 & UINT64_C(0x5555555555555555);
    word = (word & UINT64_C(0x3333333333333333)) + (word >> 2 & UINT64_C(0x3333333333333333));
    return (int)(((word + (word >> 4)) & UINT64_C(0x0f0f0f0f0f0f0f0f)) * UINT64_C(0x0101010101010101) >> 56);
}
#define LOWEST_BIT(word) COUNT_BITS(((word) & (~(word) + 1)) - 1)
#endif

AGENTMEM_INLINE uint32_t token_at(const maxsim_t *m, int64_t t)
{
    return m->wide ? ((const uint32_t *)m->tokens)[t] : ((const uint16_t *)m->tokens)[t];
}

/* Where the rows' tokens lie: nothing where the offsets, which may come from a file, point outside. */
static void find_spans(const maxsim_t *m, seen_t *seen)
{
    for (int64_t r = 0; r < m->n_rows; r++) {
        const int64_t row = m->rows ? m->rows[r] : r;
        span_t span = {m->offsets[row], m->offsets[row + 1]};
        if (span.start < 0 || span.end > m->n_tokens || span.end < span.start)
            span.start = span.end = 0;
        seen->spans[r] = span;
        seen->total += span.end - span.start;
    }
}

/* Mark the tokens that the vocabulary has, and put them one behind the other; the spans are then those of places. */
static void mark_tokens(const maxsim_t *m, seen_t *seen)
{
    uint32_t *place = seen->places;
    for (int64_t r = 0; r < m->n_rows; r++) {
        const span_t span = seen->spans[r];
        seen->spans[r].start = place - seen->places;
        for (int64_t t = span.start; t < span.end; t++) {
            const uint32_t token = token_at(m, t);
            if (token >= m->vocabulary)
                continue;
            seen->words[token / 64].bits |= UINT64_C(1) << (token % 64);
            *place++ = token;
        }
        seen->spans[r].end = place - seen->places;
    }
    seen->total = place - seen->places;
}

/* List the distinct tokens in ascending order, and put each token's place among them where the token was. */
AGENTMEM_CLONES
static void find_places(const maxsim_t *m, seen_t *seen)
{
    uint32_t *next = seen->distinct;
    for (int64_t w = 0; w <= m->vocabulary / 64; w++) {
        seen->words[w].before = (uint32_t)(next - seen->distinct);
        for (uint64_t bits = seen->words[w].bits; bits; bits &= bits - 1)
            *next++ = (uint32_t)(64 * w + LOWEST_BIT(bits));
    }
    seen->used = next - seen->distinct;
    for (int t = 0; seen->used && t < MAXSIM_TILE + MAXSIM_AHEAD; t++)
        next[t] = next[-1];
    for (int64_t t = 0; t < seen->total; t++) {
        const uint32_t token = seen->places[t];
        const word_t *word = seen->words + token / 64;
        const uint64_t below = word->bits & ((UINT64_C(1) << (token % 64)) - 1);
        seen->places[t] = word->before + (uint32_t)COUNT_BITS(below);
    }
}

#endif
