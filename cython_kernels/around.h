/* What two sources say of rows and of the turns around them, and the rows beside the best of what both offer. */
#ifndef AGENTMEM_AROUND_H
#define AGENTMEM_AROUND_H

#include "gather.h"
#include "scale.h"
#include "scan.h"

/* One part of the index, and one search of it. */
typedef struct {
    const float *vectors;
    const uint8_t *has_vector;
    int64_t n, dim;
    int l2;
    const float *query;         /* NULL: NaN for every row */
    const float *lexical;       /* scores of the rows from first_lexical on, 0 for others; NULL: NaN for every row */
    int64_t first_lexical, n_lexical;
    const int64_t *thread_key;
    const uint8_t *mask;        /* of the rows that may stand around: those of [start, stop) under it (NULL for all) */
    int64_t start, stop;
} around_t;

/* Similarities, minus the distance under l2, and BM25 of rows, which are within the part. */
static void said_of(const around_t *a, const int64_t *rows, int64_t m, float *dense, float *lexical)
{
    if (a->query)
        scan_scores(a->vectors, a->n, a->dim, a->l2, a->query, rows, m, dense);
    for (int64_t i = 0; i < m; i++) {
        const uint64_t place = (uint64_t)(rows[i] - a->first_lexical);
        if (!a->query || !a->has_vector[rows[i]])
            dense[i] = NAN;
        else if (a->l2)
            dense[i] = -sqrtf(dense[i] < 0 ? -dense[i] : 0.0f);
        lexical[i] = !a->lexical ? NAN : place < (uint64_t)a->n_lexical ? a->lexical[place] : 0.0f;
    }
}

/* Rows, m of them, and behind these the turns around them; room for m + 2 * radius * m numbers in rows, places, dense
   and lexical, for twice as many in scratch and for as many in distinct.  Sets the owners and offsets of the turns, the
   distinct rows, the place of each row among them, and what is said of each row.  Returns how many are distinct; sets
   how many stand around. */
static int64_t said_around(const around_t *a, int64_t *rows, int64_t m, int64_t radius, int32_t *owners,
                           int8_t *offsets, numbered_t *scratch, int64_t *distinct, int64_t *places, float *said,
                           float *dense, float *lexical, int64_t *n_around)
{
    const int64_t n = m + (*n_around = thread_window(a->thread_key, a->n, a->mask, a->start, a->stop, rows, m, radius,
                                                     owners, offsets, rows + m));
    const int64_t count = distinct_numbers(rows, n, scratch, distinct, places);
    said_of(a, distinct, count, said, said + count);
    for (int64_t i = 0; i < n; i++) {
        dense[i] = said[places[i]];
        lexical[i] = said[count + places[i]];
    }
    return count;
}

/* Rows and marks, count of them, are what the sources offer.  Takes the `best` of them by the sum of what both say, each
   scaled to [0, 1], the lower row first among equal ones, and adds the turns as far as `reach` from these, with a mark
   of their own.  scores: room for 4 * count numbers; found: for 2 * reach * best, as owners and offsets; numbers: for
   twice all; rows and marks: for all.  Returns how many there are then. */
static int64_t add_beside(const around_t *a, int64_t *rows, uint8_t *marks, int64_t count, int64_t best, int64_t reach,
                          uint8_t mark, float *scores, int64_t *chosen, int64_t *found, int32_t *owners,
                          int8_t *offsets, numbered_t *numbers)
{
    float *dense = scores, *lexical = dense + count, *sum = lexical + count, *scaled = sum + count;
    int64_t n = 0;
    said_of(a, rows, count, dense, lexical);
    scale_by(dense, NULL, count, sum);
    scale_by(lexical, NULL, count, scaled);
    for (int64_t i = 0; i < count; i++) {
        sum[i] += scaled[i];
        numbers[i] = (numbered_t){(uint64_t)rows[i], marks[i]};
    }
    for (; n < best && n < count; n++) {
        int64_t top = 0;
        for (int64_t i = 1; i < count; i++)
            if (sum[i] > sum[top])
                top = i;
        chosen[n] = rows[top];
        sum[top] = -1;
    }
    const int64_t added = thread_window(a->thread_key, a->n, a->mask, a->start, a->stop, chosen, n, reach, owners,
                                        offsets, found);
    for (int64_t i = 0; i < added; i++)
        numbers[count + i] = (numbered_t){(uint64_t)found[i], mark};
    return marked_numbers(numbers, count + added, rows, marks);
}

#endif
