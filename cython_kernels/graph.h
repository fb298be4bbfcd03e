/* Best-first search over a mapped hierarchical graph (Malkov & Yashunin, 1603.09320, algorithms 2 and 5).

   The graph comes from a file: link counts, linked rows and levels are clamped or skipped where they are wild.  Every
   row is visited once at most, so a search ends whatever the links say.  One Search belongs to one call. */
#ifndef AGENTMEM_GRAPH_H
#define AGENTMEM_GRAPH_H

#include <stdlib.h>
#include "dot.h"
#include "pool.h"

#define MAX_LEVELS 64

typedef struct {
    const uint32_t *links; /* (n, 1 + 2 M) */
    const int64_t *upper_offsets;
    const uint32_t *upper;
    int64_t upper_size, n, entry, max_level, M;
    const int8_t *codes; /* (n, stride), or NULL to walk by the vectors */
    const float *scales, *norms, *vectors;
    int64_t stride, dim;
    int l2;
} Graph;

typedef struct {
    const Graph *graph;
    const uint8_t *allowed; /* (n,) or NULL */
    const float *query;
    CodeQuery coded;
    float norm;       /* squared, of the query */
    uint64_t *seen;   /* one bit a row */
    Pool results;     /* allowed rows */
    Pool waypoints;   /* rows that are walked through only */
    uint32_t *found, *blocked;
    int32_t *dots;
    float *scores;
    int8_t *query_codes;
} Search;

AGENTMEM_CLONES
static void exact_rows(const float *vectors, int64_t dim, const float *query, int l2, const uint32_t *rows,
                       int64_t count, float *out) {
    for (int64_t i = 0; i < count; i++) {
        if (i + 1 < count)
            for (int64_t j = 0; j < dim; j += 16) AGENTMEM_PREFETCH(vectors + (int64_t)rows[i + 1] * dim + j);
        out[i] = exact_score(vectors + (int64_t)rows[i] * dim, query, dim, l2);
    }
}

/* search->scores of search->found: by codes where the graph has them, else exact. */
static void score_found(Search *search, int64_t count) {
    const Graph *graph = search->graph;
    if (!graph->codes) {
        exact_rows(graph->vectors, graph->dim, search->query, graph->l2, search->found, count, search->scores);
        return;
    }
    dot_rows(graph->codes, &search->coded, search->found, count, search->dots);
    for (int64_t i = 0; i < count; i++) {
        uint32_t row = search->found[i];
        float product = search->coded.scale * graph->scales[row] * (float)search->dots[i];
        search->scores[i] = graph->l2 ? 2.0f * product - graph->norms[row] - search->norm : product;
    }
}

AGENTMEM_INLINE void prefetch_row(const Graph *graph, uint32_t row) {
    const char *start = graph->codes ? (const char *)(graph->codes + (int64_t)row * graph->stride)
                                     : (const char *)(graph->vectors + (int64_t)row * graph->dim);
    int64_t bytes = graph->codes ? graph->stride : graph->dim * (int64_t)sizeof(float);
    for (int64_t i = 0; i < bytes; i += 64) AGENTMEM_PREFETCH(start + i);
}

AGENTMEM_INLINE int64_t links_of(const Graph *graph, uint32_t row, const uint32_t **list) {
    const uint32_t *links = graph->links + (int64_t)row * (1 + 2 * graph->M);
    *list = links + 1;
    return links[0] < 2 * graph->M ? links[0] : 2 * graph->M;
}

AGENTMEM_INLINE int64_t upper_links_of(const Graph *graph, uint32_t row, int64_t level, const uint32_t **list) {
    int64_t first = graph->upper_offsets[row], end = graph->upper_offsets[row + 1];
    int64_t start = first + (level - 1) * (1 + graph->M);
    if (first < 0 || end > graph->upper_size || start + 1 + graph->M > end) return 0;
    *list = graph->upper + start + 1;
    return graph->upper[start] < graph->M ? graph->upper[start] : graph->M;
}

/* Mark a row; returns whether it was not marked yet.  Wild rows count as marked. */
AGENTMEM_INLINE int visit(Search *search, uint32_t row) {
    if (row >= search->graph->n) return 0;
    uint64_t *word = search->seen + (row >> 6), bit = (uint64_t)1 << (row & 63);
    int fresh = !(*word & bit);
    *word |= bit;
    return fresh;
}

AGENTMEM_INLINE void unvisit(Search *search, uint32_t row) { search->seen[row >> 6] &= ~((uint64_t)1 << (row & 63)); }

/* Greedy descent from the entry through the upper levels; returns the row that it ends at, scored in scores[0]. */
static uint32_t descend(Search *search) {
    const Graph *graph = search->graph;
    uint32_t best = (uint32_t)graph->entry;
    search->found[0] = best;
    score_found(search, 1);
    float best_score = search->scores[0];
    for (int64_t level = graph->max_level < MAX_LEVELS ? graph->max_level : MAX_LEVELS; level > 0; level--) {
        for (int improved = 1; improved;) {
            const uint32_t *list = NULL;
            int64_t size = upper_links_of(graph, best, level, &list), count = 0;
            for (int64_t i = 0; i < size; i++)
                if (list[i] < graph->n) {
                    search->found[count++] = list[i];
                    prefetch_row(graph, list[i]);
                }
            score_found(search, count);
            improved = 0;
            for (int64_t i = 0; i < count; i++)
                if (search->scores[i] > best_score) {
                    best_score = search->scores[i];
                    best = search->found[i];
                    improved = 1;
                }
        }
    }
    search->scores[0] = best_score;
    return best;
}

/* Put the unvisited neighbours of a row into search->found; returns how many. */
AGENTMEM_INLINE int64_t gather(Search *search, uint32_t row) {
    const uint32_t *list;
    int64_t size = links_of(search->graph, row, &list), count = 0;
    for (int64_t i = 0; i < size; i++)
        if (visit(search, list[i])) {
            search->found[count++] = list[i];
            prefetch_row(search->graph, list[i]);
        }
    return count;
}

/* The same under a filter: allowed neighbours, and through neighbours that are not allowed theirs, until there are as
   many as a row has links (the idea of ACORN, 2403.04871).  Neighbours looked through are put into search->blocked. */
static int64_t gather_allowed(Search *search, uint32_t row, int64_t *blocked) {
    const Graph *graph = search->graph;
    const uint32_t *list, *further;
    int64_t size = links_of(graph, row, &list), count = 0, walls = 0;
    for (int64_t i = 0; i < size; i++)
        if (visit(search, list[i])) {
            if (search->allowed[list[i]]) {
                search->found[count++] = list[i];
                prefetch_row(graph, list[i]);
            } else {
                search->blocked[walls++] = list[i];
                AGENTMEM_PREFETCH(graph->links + (int64_t)list[i] * (1 + 2 * graph->M));
            }
        }
    int64_t through = 0;
    for (; through < walls && count < 2 * graph->M; through++) {
        size = links_of(graph, search->blocked[through], &further);
        for (int64_t i = 0; i < size && count < 2 * graph->M; i++)
            if (further[i] < graph->n && search->allowed[further[i]] && visit(search, further[i])) {
                search->found[count++] = further[i];
                prefetch_row(graph, further[i]);
            }
    }
    for (int64_t i = through; i < walls; i++) unvisit(search, search->blocked[i]);
    *blocked = through;
    return count;
}

static void insert_found(Search *search, Pool *pool, int64_t count) {
    score_found(search, count);
    for (int64_t i = 0; i < count; i++) pool_insert(pool, make_key(search->scores[i], search->found[i]));
}

static void expand(Search *search, uint32_t row) {
    if (!search->allowed) {
        insert_found(search, &search->results, gather(search, row));
        return;
    }
    int64_t blocked;
    insert_found(search, &search->results, gather_allowed(search, row, &blocked));
    if (!pool_full(&search->results)) {
        memcpy(search->found, search->blocked, (size_t)blocked * sizeof(uint32_t));
        insert_found(search, &search->waypoints, blocked);
    }
}

/* Fill search->results.  Rows that are not allowed are walked through while results are not full, ef of them at most;
   a walk that ends for that reason vouches for nothing and leaves no results. */
static void walk(Search *search) {
    uint32_t start = descend(search);
    int64_t patience = search->results.capacity;
    visit(search, start);
    pool_insert(!search->allowed || search->allowed[start] ? &search->results : &search->waypoints,
                make_key(search->scores[0], start));
    for (;;) {
        uint64_t key = pool_next(&search->results);
        Pool *pool = &search->results;
        if (!pool_full(pool)) {
            uint64_t other = pool_next(&search->waypoints);
            if (other < key) {
                if (patience-- == 0) {
                    search->results.size = 0;
                    return;
                }
                key = other;
                pool = &search->waypoints;
            }
        }
        if (key == UINT64_MAX) return;
        pool->keys[pool->cursor] |= 1;
        expand(search, key_row(key));
    }
}

/* Order the best k of the results by exact score into search->waypoints. */
static void finish(Search *search, int64_t k) {
    const Graph *graph = search->graph;
    Pool best = {search->waypoints.keys, 0, k, 0};
    int64_t block = 2 * graph->M;
    for (int64_t first = 0; first < search->results.size; first += block) {
        int64_t count = search->results.size - first < block ? search->results.size - first : block;
        for (int64_t i = 0; i < count; i++) search->found[i] = key_row(search->results.keys[first + i]);
        exact_rows(graph->vectors, graph->dim, search->query, graph->l2, search->found, count, search->scores);
        for (int64_t i = 0; i < count; i++) pool_insert(&best, make_key(search->scores[i], search->found[i]));
    }
    search->waypoints = best;
}

static void *carve(char **room, int64_t bytes) {
    void *result = *room;
    *room += (bytes + 63) / 64 * 64;
    return result;
}

/* Search for m queries; rows and scores are (m, k), counts (m,).  ef >= k >= 1, n >= 1.  Returns 0, or -1 without memory. */
static int search_graph(const Graph *graph, const float *queries, int64_t m, int64_t k, int64_t ef,
                        const uint8_t *allowed, int64_t *rows, float *scores, int32_t *counts) {
    ef = ef < graph->n ? ef : graph->n;
    int64_t words = (graph->n + 63) / 64, fan = 2 * graph->M > 1 ? 2 * graph->M : 1;
    int64_t bytes = 8 * words + 16 * (ef + 1) + 16 * fan + graph->stride + 64 * 8;
    char *memory = (char *)malloc((size_t)bytes), *room = memory;
    if (!memory) return -1;
    Search search = {graph, allowed, NULL, {NULL, 0, 0.0f, 0}, 0.0f};
    search.seen = (uint64_t *)carve(&room, 8 * words);
    uint64_t *results = (uint64_t *)carve(&room, 8 * (ef + 1)), *waypoints = (uint64_t *)carve(&room, 8 * (ef + 1));
    search.found = (uint32_t *)carve(&room, 4 * fan);
    search.blocked = (uint32_t *)carve(&room, 4 * fan);
    search.dots = (int32_t *)carve(&room, 4 * fan);
    search.scores = (float *)carve(&room, 4 * fan);
    search.query_codes = (int8_t *)carve(&room, graph->stride);
    for (int64_t i = 0; i < m; i++) {
        search.query = queries + i * graph->dim;
        search.norm = dot_float(search.query, search.query, graph->dim);
        if (graph->codes) search.coded = code_query(search.query, graph->dim, graph->stride, search.query_codes);
        search.results = (Pool){results, 0, ef, 0};
        search.waypoints = (Pool){waypoints, 0, ef, 0};
        memset(search.seen, 0, (size_t)(8 * words));
        walk(&search);
        finish(&search, k);
        counts[i] = (int32_t)search.waypoints.size;
        for (int64_t j = 0; j < search.waypoints.size; j++) {
            rows[i * k + j] = key_row(search.waypoints.keys[j]);
            scores[i * k + j] = key_score(search.waypoints.keys[j]);
        }
    }
    free(memory);
    return 0;
}

#endif
