/* What stands in the words of rows, whose ids lie one row after the other: phrases of the query, its terms at the
   beginning, and ids of a kind.
   Offsets may come from a mapped file: a row whose slice points outside is empty. */
#ifndef AGENTMEM_WORDS_H
#define AGENTMEM_WORDS_H

#include <stdint.h>
#include <string.h>
#include "simd.h"

typedef struct {
    const int64_t *offsets, *rows;
    const void *ids;
    int64_t n_rows, n_offsets, n_ids;
    int wide;               /* uint32 rather than uint16 */
} words_t;

static inline uint32_t id_at(const words_t *w, int64_t at)
{
    return w->wide ? ((const uint32_t *)w->ids)[at] : ((const uint16_t *)w->ids)[at];
}

static inline int64_t slice_of(const words_t *w, int64_t r, int64_t *stop)
{
    const int64_t row = w->rows[r];
    *stop = 0;
    if (row < 0 || row + 1 >= w->n_offsets)
        return 0;
    const int64_t start = w->offsets[row], end = w->offsets[row + 1];
    if (start < 0 || end > w->n_ids || end < start)
        return 0;
    *stop = end;
    return start;
}

enum { WORDS_AHEAD = 8 };

/* Asks for the ids of a row further on, of which the offsets were asked for before. */
static inline void words_ahead(const words_t *w, int64_t r)
{
    if (r + 2 * WORDS_AHEAD < w->n_rows && (uint64_t)w->rows[r + 2 * WORDS_AHEAD] < (uint64_t)w->n_offsets)
        AGENTMEM_PREFETCH(w->offsets + w->rows[r + 2 * WORDS_AHEAD]);
    if (r + WORDS_AHEAD < w->n_rows) {
        int64_t stop;
        const int64_t at = slice_of(w, r + WORDS_AHEAD, &stop);
        AGENTMEM_PREFETCH((const char *)w->ids + at * (w->wide ? 4 : 2));
        AGENTMEM_PREFETCH((const char *)w->ids + at * (w->wide ? 4 : 2) + 64);
    }
}

/* Whether any of a row's ids is among the wanted ones, which are ascending. */
static void rows_holding(const words_t *w, const uint32_t *wanted, int64_t n_wanted, uint8_t *out)
{
    for (int64_t r = 0; r < w->n_rows; r++) {
        int64_t stop, at = slice_of(w, r, &stop);
        words_ahead(w, r);
        out[r] = 0;
        for (; at < stop && !out[r]; at++) {
            const uint32_t id = id_at(w, at);
            int64_t low = 0, high = n_wanted;
            while (low < high) {
                const int64_t middle = (low + high) / 2;
                if (wanted[middle] < id)
                    low = middle + 1;
                else
                    high = middle;
            }
            out[r] = low < n_wanted && wanted[low] == id;
        }
    }
}

/* BM25 without lengths over pairs of terms that follow each other in the query and stand together, at most one other
   word between them.  query: ids of the terms in order, -1 for one that no row can hold; least: of each pair, the
   weight; held: 0 for rows that hold no term, NULL where that is not known; counts: n_terms numbers of scratch. */
static void phrases_of(const words_t *w, const int64_t *query, const float *least, const float *held, int64_t n_terms,
                       double k1, double *counts, float *out)
{
    uint64_t seen = 0;      /* few ids of a text share the last six bits with a term of the query */
    for (int64_t term = 0; term < n_terms; term++)
        seen |= UINT64_C(1) << (query[term] & 63);
    for (int64_t r = 0; r < w->n_rows; r++) {
        int64_t stop, at = slice_of(w, r, &stop), before = -1, earlier = -1;
        double score = 0;
        words_ahead(w, r);
        if (held && held[r] == 0) {
            out[r] = 0;
            continue;
        }
        memset(counts, 0, n_terms * sizeof *counts);
        for (; at < stop; at++) {
            const int64_t id = id_at(w, at);
            int64_t term = seen >> (id & 63) & 1 ? n_terms - 1 : -1;
            while (term >= 0 && query[term] != id)
                term--;
            if (term > 0)
                counts[term - 1] += (before == term - 1) + (earlier == term - 1);
            earlier = before;
            before = term;
        }
        for (int64_t pair = 0; pair + 1 < n_terms; pair++)
            if (counts[pair] > 0)
                score += counts[pair] * (k1 + 1) / (counts[pair] + k1) * least[pair];
        out[r] = (float)score;
    }
}

/* The weights of the query's terms that are among the first words of each row; query as for phrases_of. */
static void leads_of(const words_t *w, const int64_t *query, const float *weights, int64_t n_terms, int64_t first_words,
                     float *out)
{
    for (int64_t r = 0; r < w->n_rows; r++) {
        int64_t stop, start = slice_of(w, r, &stop);
        double score = 0;
        words_ahead(w, r);
        if (stop > start + first_words)
            stop = start + first_words;
        for (int64_t term = 0; term < n_terms; term++)
            for (int64_t at = start; at < stop; at++)
                if (id_at(w, at) == query[term]) {
                    score += weights[term];
                    break;
                }
        out[r] = (float)score;
    }
}

#endif
