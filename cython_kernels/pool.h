/* The best rows so far, in order, in one sorted array: at the sizes of a search (some hundreds) faster than a heap. */
#ifndef AGENTMEM_POOL_H
#define AGENTMEM_POOL_H

#include <stdint.h>
#include <string.h>
#include "simd.h"

/* The best `capacity` rows so far, best first.  A key is (bad score, row, expanded): 32, 31 and 1 bits. */
typedef struct {
    uint64_t *keys;
    int64_t size, capacity, cursor; /* all before the cursor are expanded */
} Pool;

AGENTMEM_INLINE uint64_t make_key(float score, uint32_t row) {
    uint32_t bits;
    memcpy(&bits, &score, 4);
    bits = (bits >> 31) ? bits : ~(bits | 0x80000000u);
    return ((uint64_t)bits << 32) | ((uint64_t)row << 1);
}

AGENTMEM_INLINE float key_score(uint64_t key) {
    uint32_t bits = (uint32_t)(key >> 32);
    float score;
    bits = (bits >> 31) ? bits : (~bits & 0x7fffffffu);
    memcpy(&score, &bits, 4);
    return score;
}

AGENTMEM_INLINE uint32_t key_row(uint64_t key) { return (uint32_t)key >> 1; }

AGENTMEM_INLINE int pool_full(const Pool *pool) { return pool->size == pool->capacity; }

AGENTMEM_INLINE void pool_insert(Pool *pool, uint64_t key) {
    if (pool_full(pool)) {
        if (key >= pool->keys[pool->size - 1]) return;
        pool->size--;
    }
    int64_t low = 0, span = pool->size;
    while (span > 0) {
        int64_t half = span >> 1;
        int before = pool->keys[low + half] < key;
        low = before ? low + half + 1 : low;
        span = before ? span - half - 1 : half;
    }
    memmove(pool->keys + low + 1, pool->keys + low, (size_t)(pool->size - low) * sizeof(uint64_t));
    pool->keys[low] = key;
    pool->size++;
    if (low < pool->cursor) pool->cursor = low;
}

/* The best key that is not expanded yet, or UINT64_MAX. */
AGENTMEM_INLINE uint64_t pool_next(Pool *pool) {
    while (pool->cursor < pool->size && (pool->keys[pool->cursor] & 1)) pool->cursor++;
    return pool->cursor < pool->size ? pool->keys[pool->cursor] : UINT64_MAX;
}

#endif
