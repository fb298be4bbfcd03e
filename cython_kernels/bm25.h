/* BM25 over postings, a term at a time.  Postings may be a mapped file: every row and offset of theirs is checked. */
#ifndef AGENTMEM_BM25_H
#define AGENTMEM_BM25_H

#include <stdlib.h>
#include <string.h>
#include "topk.h"

typedef struct {
    const uint32_t *terms;
    const int64_t *offsets;
    const uint32_t *rows;
    const uint8_t *counts;
    int64_t n_terms, n_postings;
} Inverted;

/* The first index in [low, high) whose value is at least `value`. */
AGENTMEM_INLINE int64_t lower_bound(const uint32_t *values, int64_t low, int64_t high, uint32_t value) {
    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        if (values[middle] < value)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* The postings [*low, *high) of a term among rows [start, stop). */
static void posting_range(const Inverted *index, uint32_t term, int64_t start, int64_t stop, int64_t *low,
                          int64_t *high) {
    int64_t at = lower_bound(index->terms, 0, index->n_terms, term);
    *low = *high = 0;
    if (at == index->n_terms || index->terms[at] != term) return;
    int64_t first = index->offsets[at], last = index->offsets[at + 1];
    if (first < 0 || last > index->n_postings || first > last) return;
    *low = lower_bound(index->rows, first, last, (uint32_t)start);
    *high = lower_bound(index->rows, *low, last, (uint32_t)stop);
}

/* In how many rows of [start, stop) under the mask (or NULL) each term occurs. */
static void bm25_frequencies(const Inverted *index, const uint32_t *terms, int64_t n_terms, int64_t start,
                             int64_t stop, const uint8_t *mask, int64_t *frequencies) {
    for (int64_t i = 0; i < n_terms; i++) {
        int64_t low, high, count = 0;
        posting_range(index, terms[i], start, stop, &low, &high);
        if (mask) {
            for (int64_t j = low; j < high; j++) count += index->rows[j] < (uint64_t)stop ? mask[index->rows[j]] : 0;
        } else {
            count = high - low;
        }
        frequencies[i] = count;
    }
}

/* scores[row - start] += weight * gain * tf / (tf + flat + slope * length), rows of [start, stop). */
AGENTMEM_CLONES
static void bm25_term(const Inverted *index, int64_t low, int64_t high, float weight, float flat, float slope,
                      const uint32_t *lengths, int64_t start, int64_t stop, float *scores) {
    uint64_t span = (uint64_t)(stop - start);
    for (int64_t j = low; j < high; j++) {
        uint64_t place = (uint64_t)index->rows[j] - (uint64_t)start;
        if (place >= span) continue;
        float count = index->counts[j];
        scores[place] += weight * count / (count + flat + slope * (float)lengths[index->rows[j]]);
    }
}

static void bm25_accumulate(const Inverted *index, const uint32_t *terms, const float *weights, int64_t n_terms,
                            float gain, float flat, float slope, const uint32_t *lengths, int64_t start, int64_t stop,
                            float *scores) {
    for (int64_t i = 0; i < n_terms; i++) {
        int64_t low, high;
        posting_range(index, terms[i], start, stop, &low, &high);
        bm25_term(index, low, high, weights[i] * gain, flat, slope, lengths, start, stop, scores);
    }
}

/* The k best positive scores of rows [start, start + n) under the mask (or NULL).  Returns how many. */
static int64_t bm25_top(const float *scores, int64_t start, int64_t n, const int64_t *labels, const uint8_t *mask,
                        Best *best) {
    best->size = 0;
    for (int64_t i = 0; i < n; i++) {
        float score = scores[i];
        if (score > 0.0f && score >= best_threshold(best) && (!mask || mask[start + i]))
            best_offer(best, score, start + i, labels[start + i]);
    }
    best_sort(best);
    return best->size;
}

AGENTMEM_CLONES
static void bm25_texts(const uint32_t *lengths, const uint8_t *mask, int64_t start, int64_t stop, int64_t *texts,
                       int64_t *total) {
    int64_t count = 0, sum = 0;
    if (mask) {
#pragma omp simd reduction(+ : count, sum)
        for (int64_t i = start; i < stop; i++) {
            uint32_t length = mask[i] ? lengths[i] : 0;
            count += length != 0;
            sum += length;
        }
    } else {
#pragma omp simd reduction(+ : count, sum)
        for (int64_t i = start; i < stop; i++) {
            count += lengths[i] != 0;
            sum += lengths[i];
        }
    }
    *texts = count;
    *total = sum;
}

/* A set of terms as a table of bits (most terms end there) and the ascending list. */
typedef struct {
    uint64_t bits[256];
    const uint32_t *terms;
    int64_t n_terms;
} TermSet;

AGENTMEM_INLINE uint32_t term_hash(uint32_t term) { return (term * 2654435769u) >> 18; }

static void term_set(TermSet *set, const uint32_t *terms, int64_t n_terms) {
    memset(set->bits, 0, sizeof set->bits);
    set->terms = terms;
    set->n_terms = n_terms;
    for (int64_t i = 0; i < n_terms; i++) {
        uint32_t hash = term_hash(terms[i]);
        set->bits[hash >> 6] |= (uint64_t)1 << (hash & 63);
    }
}

/* The index of a term in the set, or -1. */
AGENTMEM_INLINE int64_t term_index(const TermSet *set, uint32_t term) {
    uint32_t hash = term_hash(term);
    if (!(set->bits[hash >> 6] >> (hash & 63) & 1)) return -1;
    int64_t at = lower_bound(set->terms, 0, set->n_terms, term);
    return at < set->n_terms && set->terms[at] == term ? at : -1;
}

/* One occurrence of a wanted term. */
typedef struct {
    uint32_t row;
    int32_t term;
} Occurrence;

/* Collect the occurrences of wanted terms in rows [first, last), in text order; room for all tokens.  Returns how many. */
static int64_t term_occurrences(const int64_t *offsets, const uint32_t *tokens, int64_t first, int64_t last,
                                const uint32_t *wanted, int64_t n_wanted, Occurrence *out) {
    TermSet set;
    int64_t total = 0;
    term_set(&set, wanted, n_wanted);
    for (int64_t row = first; row < last; row++)
        for (int64_t j = offsets[row]; j < offsets[row + 1]; j++) {
            int64_t at = term_index(&set, tokens[j]);
            if (at >= 0) out[total++] = (Occurrence){(uint32_t)row, (int32_t)at};
        }
    return total;
}

/* Sort occurrences by term (counting sort, rows stay ascending) and join those of one row.  offsets: (n_wanted + 1,),
   rows and counts: room for n.  Returns the number of postings; offsets come compacted with them. */
static int64_t term_postings(const Occurrence *occurrences, int64_t n, int64_t n_wanted, int64_t *offsets,
                             uint32_t *rows, uint8_t *counts) {
    memset(offsets, 0, (size_t)(n_wanted + 1) * sizeof(int64_t));
    for (int64_t i = 0; i < n; i++) offsets[occurrences[i].term + 1]++;
    for (int64_t t = 0; t < n_wanted; t++) offsets[t + 1] += offsets[t];
    for (int64_t i = 0; i < n; i++) rows[offsets[occurrences[i].term]++] = occurrences[i].row;
    int64_t total = 0, at = 0;
    for (int64_t t = 0; t < n_wanted; t++) {
        int64_t stop = offsets[t], begin = total;
        offsets[t] = begin;
        for (; at < stop; at++) {
            if (total > begin && rows[total - 1] == rows[at]) {
                counts[total - 1] += counts[total - 1] < 255;
            } else {
                rows[total] = rows[at];
                counts[total++] = 1;
            }
        }
    }
    offsets[n_wanted] = total;
    return total;
}

#endif
