/* Softmax attention for many queries: tiles of register size over panels of queries, in parallel where asked for.

   The same mathematics as attention_softmax.h, with the arithmetic of a matrix product: a key or a value is loaded once
   for a panel of queries.  What it does not know (a gather, a support, factors on the scores, weights to be returned)
   goes the other way. */
#ifndef AGENTMEM_ATTENTION_TILE_H
#define AGENTMEM_ATTENTION_TILE_H

#include <stdlib.h>

#include "attention_softmax.h"
#include "threads.h"

enum { PANEL_BYTES = 1 << 17, MOST_PANELS = 16, MOST_ROWS = 8, HALF_CACHE = 1 << 19, ALIGNMENT = 64 };

/* Queries [first, first + count) of a head, keys [start, start + n). */
typedef struct {
    const attention_t *a;
    int64_t head, first, count, start, n;
} tile_t;

AGENTMEM_INLINE float *tile_out(const tile_t *t, int64_t i)
{
    return t->a->out + t->head * t->a->out_head + (t->first + i) * t->a->out_row;
}

/* Pack the queries in panels (dim, width), zeros behind the last; clear outputs, maxima and sums; returns the probe. */
AGENTMEM_INLINE float start_queries(const tile_t *t, int64_t panels, int64_t width, float *packed, float *state)
{
    const attention_t *a = t->a;
    float bad = 0;
    for (int64_t p = 0; p < panels; p++)
        for (int64_t l = 0; l < width; l++) {
            const int64_t i = p * width + l;
            const float *query = a->query + t->head * a->query_head + (t->first + i) * a->query_row;
            float *to = packed + p * width * a->dim + l;
            state[p * 2 * width + l] = -INFINITY, state[p * 2 * width + width + l] = 0;
            for (int64_t k = 0; k < a->dim; k++)
                to[k * width] = i < t->count ? query[k] : 0;
            if (i < t->count) {
                bad += probe(query, a->dim);
                memset(tile_out(t, i), 0, a->value_dim * sizeof(float));
            }
        }
    return bad;
}

/* The columns of the block's values from ``from`` on, as (n, width) with zeros behind them. */
AGENTMEM_INLINE void pack_tail(const tile_t *t, int64_t from, int64_t width, float *tail)
{
    const attention_t *a = t->a;
    const float *value = a->value + group_of(a, t->head) * a->value_head + t->start * a->value_row + from;
    memset(tail, 0, t->n * width * sizeof *tail);
    for (int64_t j = 0; j < t->n; j++)
        memcpy(tail + j * width, value + j * a->value_row, (a->value_dim - from) * sizeof *tail);
}

/* Scores (n, width) become -inf where the mask or causal order hides a key. */
AGENTMEM_INLINE void hide_keys(const tile_t *t, float *scores, int64_t width)
{
    const attention_t *a = t->a;
    if (a->causal)
        for (int64_t l = 0; l < t->count; l++) {
            const int64_t seen = keys_seen(a, t->first + l) - t->start;
            for (int64_t j = seen < 0 ? 0 : seen; j < t->n; j++)
                scores[j * width + l] = -INFINITY;
        }
    if (a->mask)
        for (int64_t l = 0; l < t->count; l++) {
            const unsigned char *keep = a->mask + t->head * a->mask_head + (t->first + l) * a->mask_row + t->start;
            for (int64_t j = 0; j < t->n; j++)
                if (!keep[j])
                    scores[j * width + l] = -INFINITY;
        }
}

#if defined(__GNUC__)
#define TILE(name) tile_base_##name
#define TILE_TARGET
#define TILE_BYTES 16
#define TILE_ROWS 4
#include "attention_tile_kernel.h"
#if defined(AGENTMEM_X86)
#define TILE(name) tile_v3_##name
#define TILE_TARGET __attribute__((target("arch=x86-64-v3")))
#define TILE_BYTES 32
#define TILE_ROWS 4
#include "attention_tile_kernel.h"
#define TILE(name) tile_v4_##name
#define TILE_TARGET __attribute__((target("arch=x86-64-v4")))
#define TILE_BYTES 64
#define TILE_ROWS 8
#include "attention_tile_kernel.h"
#endif

/* Lanes of a panel, which tell the instruction set: the widest that the queries fill by half. */
static int64_t tile_width(const attention_t *a)
{
    const int level = agentmem_isa();
    return level >= 4 && a->n_queries > 16 ? 32 : level >= 3 ? 16 : 8;
}

static float tile_chunk(const attention_t *a, int64_t width, int64_t head, int64_t first, int64_t count, float *scratch)
{
#if defined(AGENTMEM_X86)
    if (width == 32)
        return tile_v4_attend_chunk(a, head, first, count, scratch);
    if (width == 16)
        return tile_v3_attend_chunk(a, head, first, count, scratch);
#endif
    return tile_base_attend_chunk(a, head, first, count, scratch);
}

/* What the threads share: chunks of queries by head, taken in turn. */
typedef struct {
    const attention_t *a;
    int64_t width, chunk, chunks, next; /* lanes of a panel; queries a chunk; chunks a head */
    int bad;
} tile_work_t;

/* Bytes of scratch that one thread takes. */
static int64_t tile_scratch(const tile_work_t *w)
{
    const attention_t *a = w->a;
    const int64_t tail = a->value_dim % w->width ? a->block : 0;
    const int64_t floats = w->chunk * (a->dim + 2) + (a->block + tail + MOST_ROWS) * w->width + a->value_dim;
    return floats * (int64_t)sizeof(float) + ALIGNMENT;
}

static void *tile_worker(void *shared)
{
    tile_work_t *w = shared;
    const attention_t *a = w->a;
    char *memory = malloc(tile_scratch(w));
    float bad = 0, *scratch = (float *)(memory + ALIGNMENT - (uintptr_t)memory % ALIGNMENT);
    while (memory) {
        const int64_t at = __atomic_fetch_add(&w->next, 1, __ATOMIC_RELAXED), head = at / w->chunks;
        const int64_t first = at % w->chunks * w->chunk, left = a->n_queries - first;
        if (head >= a->heads)
            break;
        bad += tile_chunk(a, w->width, head, first, left < w->chunk ? left : w->chunk, scratch);
    }
    free(memory);
    if (bad != 0)
        __atomic_store_n(&w->bad, 1, __ATOMIC_RELAXED);
    return NULL;
}

static tile_work_t tile_work(const attention_t *a, int64_t threads)
{
    tile_work_t w = {a, tile_width(a), 0, 0, 0, 0};
    const int64_t fit = a->query_block ? (a->query_block - 1) / w.width + 1
                                       : PANEL_BYTES / (int64_t)sizeof(float) / a->dim / w.width;
    const int64_t panels = (a->n_queries + w.width - 1) / w.width, most = panels < MOST_PANELS ? panels : MOST_PANELS;
    w.chunk = (fit < 1 ? 1 : fit < most ? fit : most) * w.width;
    while (w.chunk > w.width && (a->n_queries + w.chunk - 1) / w.chunk * a->heads < threads)
        w.chunk -= w.width;
    w.chunks = (a->n_queries + w.chunk - 1) / w.chunk;
    return w;
}

/* Whether tiles can do what is asked, and pay: with fewer queries a row at a time is as fast. */
static int attention_tiles_fit(const attention_t *a)
{
    return a->n_queries > 4 && a->n_keys > 0 && !a->index && !a->query_norm && !a->key_norm && !a->weights &&
           !a->top_k && !a->bias && a->dropout == 0;
}

/* Bytes of scratch of such a call. */
static int64_t attention_tile_scratch(const attention_t *a, int64_t threads)
{
    const tile_work_t w = tile_work(a, threads);
    const int64_t items = w.chunks * a->heads;
    return (threads < items ? threads : items) * tile_scratch(&w);
}

/* Returns 1 where something is not finite, 0 where all is well, -1 where there is no memory. */
static int attention_tiles(const attention_t *a, int64_t threads)
{
    tile_work_t w = tile_work(a, threads);
    const int64_t items = w.chunks * a->heads;
    run_threads(tile_worker, &w, threads < items ? threads : items);
    return w.next < items ? -1 : w.bad;
}
#else
static int attention_tiles_fit(const attention_t *a)
{
    (void)a;
    return 0;
}

static int64_t attention_tile_scratch(const attention_t *a, int64_t threads)
{
    (void)a, (void)threads;
    return 0;
}

static int attention_tiles(const attention_t *a, int64_t threads)
{
    (void)a, (void)threads;
    return -1;
}
#endif

/* Keys a block: 512, 256 or 128, the most whose keys and values take half of a second-level cache of 1 MiB. */
static int64_t attention_tile_block(const attention_t *a)
{
    int64_t block = 512;
    while (block > 128 && block * (a->dim + a->value_dim) * (int64_t)sizeof(float) > HALF_CACHE)
        block /= 2;
    return block;
}

#endif
