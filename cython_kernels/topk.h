/* The best few of many scores: a heap with the worst on top.  Equal scores go to the lower label. */
#ifndef AGENTMEM_TOPK_H
#define AGENTMEM_TOPK_H

#include <math.h>
#include <stdint.h>
#include "simd.h"

typedef struct {
    float score;
    uint32_t row;
    int64_t label;
} Candidate;

typedef struct {
    Candidate *items;
    int64_t size, capacity;
} Best;

AGENTMEM_INLINE int better(const Candidate *a, const Candidate *b) {
    return a->score > b->score || (a->score == b->score && a->label < b->label);
}

/* Let the item sink from the top until no child of it is worse. */
static void best_sink(Candidate *items, int64_t size, Candidate item) {
    int64_t at = 0;
    for (int64_t child = 1; child < size; child = 2 * at + 1) {
        if (child + 1 < size && better(&items[child], &items[child + 1])) child++;
        if (!better(&item, &items[child])) break;
        items[at] = items[child];
        at = child;
    }
    items[at] = item;
}

static void best_rise(Candidate *items, int64_t at, Candidate item) {
    while (at > 0) {
        int64_t parent = (at - 1) / 2;
        if (!better(&items[parent], &item)) break;
        items[at] = items[parent];
        at = parent;
    }
    items[at] = item;
}

/* The score that the next candidate has to reach. */
AGENTMEM_INLINE float best_threshold(const Best *best) {
    return best->size < best->capacity ? -INFINITY : best->items[0].score;
}

/* The score must be a number of at least the threshold. */
static void best_offer(Best *best, float score, int64_t row, int64_t label) {
    Candidate item = {score, (uint32_t)row, label};
    if (best->size < best->capacity)
        best_rise(best->items, best->size++, item);
    else if (better(&item, &best->items[0]))
        best_sink(best->items, best->size, item);
}

/* Sort best first; the heap is none after that. */
static void best_sort(Best *best) {
    for (int64_t size = best->size - 1; size > 0; size--) {
        Candidate worst = best->items[0];
        best_sink(best->items, size, best->items[size]);
        best->items[size] = worst;
    }
}

#endif
