/* Scans of vectors (int8 codes, then float32 for the best), and of threads around a row. */
#ifndef AGENTMEM_SCAN_H
#define AGENTMEM_SCAN_H

#include <stdlib.h>
#include "dot.h"
#include "topk.h"

enum { SCAN_BLOCK = 256, SCAN_AHEAD = 8 };

typedef struct {
    const int8_t *codes;
    const float *scales, *norms, *vectors;
    const uint8_t *has_vector;
    const int64_t *labels;
    int64_t n, dim, stride;
    int l2;
} ScanPart;

/* What to scan: rows [start, stop) under mask (0 and 1, or NULL), or `count` listed rows, ascending. */
typedef struct {
    int64_t start, stop;
    const uint8_t *mask;
    const int64_t *rows;
    int64_t count;
} ScanRange;

/* Take up to SCAN_BLOCK rows from position `*at` on; returns how many, and moves the position behind them. */
static int64_t scan_take(const ScanPart *part, const ScanRange *range, int64_t *at, uint32_t *rows) {
    int64_t taken = 0, position = *at;
    if (range->rows) {
        for (; position < range->count && taken < SCAN_BLOCK; position++) {
            int64_t row = range->rows[position];
            if (row >= 0 && row < part->n && part->has_vector[row]) rows[taken++] = (uint32_t)row;
        }
    } else {
        const uint8_t *mask = range->mask ? range->mask : part->has_vector;
        while (position < range->stop && taken < SCAN_BLOCK) {
            const uint8_t *next = (const uint8_t *)memchr(mask + position, 1, (size_t)(range->stop - position));
            if (!next) {
                position = range->stop;
                break;
            }
            position = next - mask;
            int64_t room = SCAN_BLOCK - taken < 64 ? SCAN_BLOCK - taken : 64;
            int64_t stop = position + room < range->stop ? position + room : range->stop;
            for (; position < stop; position++) {
                rows[taken] = (uint32_t)position;
                taken += mask[position] & part->has_vector[position];
            }
        }
    }
    *at = position;
    return taken;
}

AGENTMEM_INLINE void prefetch_row(const void *row, int64_t bytes) {
    for (int64_t i = 0; i < bytes; i += 64) AGENTMEM_PREFETCH((const char *)row + i);
}

/* Inner products of scattered rows, fetched a few rows ahead. */
static void scan_dots(const ScanPart *part, const CodeQuery *query, const uint32_t *rows, int64_t count,
                      int32_t *dots) {
    if (rows[count - 1] - rows[0] == count - 1) {
        dot_range(part->codes, query, rows[0], count, dots);
        return;
    }
    for (int64_t i = 0; i < count; i += SCAN_AHEAD) {
        int64_t stop = i + SCAN_AHEAD < count ? i + SCAN_AHEAD : count;
        for (int64_t j = stop; j < stop + SCAN_AHEAD && j < count; j++)
            prefetch_row(part->codes + rows[j] * part->stride, part->stride);
        dot_rows(part->codes, query, rows + i, stop - i, dots + i);
    }
}

AGENTMEM_CLONES
static void scan_approximate(const ScanPart *part, const CodeQuery *query, const uint32_t *rows, int64_t count,
                             const int32_t *dots, float *scores) {
    float scale = part->l2 ? 2.0f * query->scale : query->scale;
    for (int64_t i = 0; i < count; i++) scores[i] = scale * part->scales[rows[i]] * (float)dots[i];
    if (part->l2)
        for (int64_t i = 0; i < count; i++) scores[i] -= part->norms[rows[i]];
}

AGENTMEM_CLONES
static void scan_exact(const float *vectors, int64_t dim, int l2, const float *query, const uint32_t *rows,
                       int64_t count, float *scores) {
    for (int64_t i = 0; i < count; i++) {
        if (i + 1 < count) prefetch_row(vectors + rows[i + 1] * dim, dim * (int64_t)sizeof(float));
        scores[i] = exact_score(vectors + rows[i] * dim, query, dim, l2);
    }
}

static void scan_offer(const ScanPart *part, Best *best, const uint32_t *rows, const float *scores, int64_t count) {
    for (int64_t i = 0; i < count; i++)
        if (scores[i] >= best_threshold(best)) best_offer(best, scores[i], rows[i], part->labels[rows[i]]);
}

/* Replace the approximate scores by exact ones and sort. */
static void scan_rescore(const ScanPart *part, const float *query, Best *best) {
    uint32_t rows[SCAN_BLOCK];
    float scores[SCAN_BLOCK];
    for (int64_t start = 0; start < best->size; start += SCAN_BLOCK) {
        int64_t count = best->size - start < SCAN_BLOCK ? best->size - start : SCAN_BLOCK;
        Candidate *items = best->items + start;
        for (int64_t i = 0; i < count; i++) rows[i] = items[i].row;
        scan_exact(part->vectors, part->dim, part->l2, query, rows, count, scores);
        for (int64_t i = 0; i < count; i++) items[i].score = scores[i];
    }
    for (int64_t i = 1; i < best->size; i++) best_rise(best->items, i, best->items[i]);
    best_sort(best);
}

/* Scratch of a scan over m queries: their codes and their heaps, in one block of memory. */
typedef struct {
    void *memory;
    CodeQuery *queries;
    Best *best;
} ScanScratch;

static int scan_prepare(ScanScratch *scratch, const ScanPart *part, const float *queries, int64_t m, int64_t keep) {
    size_t heads = (size_t)m * (sizeof(CodeQuery) + sizeof(Best));
    size_t items = (size_t)(m * keep) * sizeof(Candidate);
    scratch->memory = malloc(heads + items + (size_t)(m * part->stride) + 1);
    if (!scratch->memory) return -1;
    scratch->queries = (CodeQuery *)scratch->memory;
    scratch->best = (Best *)(scratch->queries + m);
    Candidate *heap = (Candidate *)(scratch->best + m);
    int8_t *codes = (int8_t *)(heap + m * keep);
    for (int64_t i = 0; i < m; i++) {
        scratch->queries[i] = code_query(queries + i * part->dim, part->dim, part->stride, codes + i * part->stride);
        scratch->best[i] = (Best){heap + i * keep, 0, keep};
    }
    return 0;
}

/* Scan for m queries at once, a block of rows at a time.  found, scores: (m, k); counts: (m,).  -1: out of memory. */
static int scan_many(const ScanPart *part, const ScanRange *range, const float *queries, int64_t m, int64_t k,
                     int64_t keep, int exact, int64_t *found, float *scores, int32_t *counts) {
    ScanScratch scratch;
    uint32_t rows[SCAN_BLOCK + 1];
    int32_t dots[SCAN_BLOCK];
    float block[SCAN_BLOCK];
    if (scan_prepare(&scratch, part, queries, m, keep)) return -1;
    int64_t end = range->rows ? range->count : range->stop;
    for (int64_t at = range->rows ? 0 : range->start; at < end;) {
        int64_t count = scan_take(part, range, &at, rows);
        for (int64_t i = 0; i < m && count; i++) {
            if (exact) {
                scan_exact(part->vectors, part->dim, part->l2, queries + i * part->dim, rows, count, block);
            } else {
                scan_dots(part, &scratch.queries[i], rows, count, dots);
                scan_approximate(part, &scratch.queries[i], rows, count, dots, block);
            }
            scan_offer(part, &scratch.best[i], rows, block, count);
        }
    }
    for (int64_t i = 0; i < m; i++) {
        Best *best = &scratch.best[i];
        scan_rescore(part, queries + i * part->dim, best);
        counts[i] = (int32_t)(best->size < k ? best->size : k);
        for (int64_t j = 0; j < counts[i]; j++) {
            found[i * k + j] = best->items[j].row;
            scores[i * k + j] = best->items[j].score;
        }
    }
    free(scratch.memory);
    return 0;
}

/* Exact scores of listed rows; rows outside the part score minus infinity. */
AGENTMEM_CLONES
static void scan_scores(const float *vectors, int64_t n, int64_t dim, int l2, const float *query, const int64_t *rows,
                        int64_t count, float *scores) {
    for (int64_t i = 0; i < count; i++) {
        if (i + 4 < count && (uint64_t)rows[i + 4] < (uint64_t)n)
            prefetch_row(vectors + rows[i + 4] * dim, dim * (int64_t)sizeof(float));
        scores[i] = (uint64_t)rows[i] < (uint64_t)n ? exact_score(vectors + rows[i] * dim, query, dim, l2) : -INFINITY;
    }
}

/* The nearest `radius` rows of [start, stop) under the mask on one side of `row` in its thread.  Returns how many. */
static int64_t thread_side(const int64_t *keys, const uint8_t *mask, int64_t start, int64_t stop, int64_t row,
                           int64_t step, int64_t radius, int64_t *found) {
    int64_t count = 0;
    for (int64_t at = row + step; count < radius && at >= start && at < stop && keys[at] == keys[row]; at += step)
        if (!mask || mask[at]) found[count++] = at;
    return count;
}

/* owners, offsets, found: room for 2 * radius * m.  Returns how many are set. */
static int64_t thread_window(const int64_t *keys, int64_t n, const uint8_t *mask, int64_t start, int64_t stop,
                             const int64_t *rows, int64_t m, int64_t radius, int32_t *owners, int8_t *offsets,
                             int64_t *found) {
    int64_t total = 0;
    for (int64_t i = 0; i < m; i++) {
        if ((uint64_t)rows[i] >= (uint64_t)n || keys[rows[i]] == 0) continue;
        for (int64_t step = -1; step <= 1; step += 2) {
            int64_t count = thread_side(keys, mask, start, stop, rows[i], step, radius, found + total);
            for (int64_t rank = 1; rank <= count; rank++, total++) {
                owners[total] = (int32_t)i;
                offsets[total] = (int8_t)(step * rank);
            }
        }
    }
    return total;
}

#endif
