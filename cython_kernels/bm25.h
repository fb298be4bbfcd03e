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

AGENTMEM_CLONES
static float bm25_largest(const float *scores, int64_t n) {
    float largest = 0.0f;
#pragma omp simd reduction(max : largest)
    for (int64_t i = 0; i < n; i++) largest = scores[i] > largest ? scores[i] : largest;
    return largest;
}

/* The k best positive scores of rows [start, start + n) under the mask (or NULL), leaving out blocks without any of
   them.  Returns how many. */
static int64_t bm25_top(const float *scores, int64_t start, int64_t n, const int64_t *labels, const uint8_t *mask,
                        Best *best) {
    enum { BLOCK = 64 };
    best->size = 0;
    for (int64_t first = 0; first < n; first += BLOCK) {
        int64_t stop = first + BLOCK < n ? first + BLOCK : n;
        float largest = bm25_largest(scores + first, stop - first);
        if (largest <= 0.0f || largest < best_threshold(best)) continue;
        for (int64_t i = first; i < stop; i++)
            if (scores[i] > 0.0f && scores[i] >= best_threshold(best) && (!mask || mask[start + i]))
                best_offer(best, scores[i], start + i, labels[start + i]);
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

/* An ascending list of terms with an open hash table over it: the number of a term plus one, 0 for a free slot. */
typedef struct {
    const uint32_t *terms;
    int64_t n_terms;
    uint32_t bits;
    int32_t *slots;
} TermSet;

AGENTMEM_INLINE uint32_t term_slot(const TermSet *set, uint32_t term) {
    return (term * 2654435769u) >> (32 - set->bits);
}

/* The caller frees the slots.  -1: out of memory. */
static int term_set(TermSet *set, const uint32_t *terms, int64_t n_terms) {
    set->terms = terms;
    set->n_terms = n_terms;
    set->bits = 8;
    while (((int64_t)1 << set->bits) < 16 * n_terms && set->bits < 30) set->bits++;
    set->slots = (int32_t *)calloc((size_t)1 << set->bits, sizeof(int32_t));
    if (!set->slots) return -1;
    for (int64_t i = 0; i < n_terms; i++) {
        uint32_t slot = term_slot(set, terms[i]);
        while (set->slots[slot]) slot = (slot + 1) & (((uint32_t)1 << set->bits) - 1);
        set->slots[slot] = (int32_t)i + 1;
    }
    return 0;
}

/* The number of a term in the set, or -1. */
AGENTMEM_INLINE int32_t term_number(const TermSet *set, uint32_t term) {
    uint32_t slot = term_slot(set, term);
    while (set->slots[slot] && set->terms[set->slots[slot] - 1] != term)
        slot = (slot + 1) & (((uint32_t)1 << set->bits) - 1);
    return set->slots[slot] - 1;
}

/* One occurrence of a wanted term. */
typedef struct {
    uint32_t row;
    int32_t term;
} Occurrence;

/* Collect the occurrences of wanted terms in rows [first, last), in text order; room for all tokens and one more.
   Returns how many, or -1: out of memory. */
static int64_t term_occurrences(const int64_t *offsets, const uint32_t *tokens, int64_t first, int64_t last,
                                const uint32_t *wanted, int64_t n_wanted, Occurrence *out) {
    TermSet set;
    int64_t total = 0;
    if (term_set(&set, wanted, n_wanted)) return -1;
    for (int64_t row = first; row < last; row++)
        for (int64_t j = offsets[row]; j < offsets[row + 1]; j++) {
            int32_t number = term_number(&set, tokens[j]);
            out[total] = (Occurrence){(uint32_t)row, number};
            total += number >= 0;
        }
    free(set.slots);
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
