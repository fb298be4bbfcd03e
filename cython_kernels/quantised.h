/* Attention of one query over keys and values of few bits, decoded in registers, eight keys at a time.

   A row is a sequence of 32-bit words, sixteen to a block.  Word l of a block holds number l of each of 32 / bits groups of
   sixteen numbers, the first group in the lowest bits: integers, which have a scale a group, or bfloat16.
   Shifts of whole words decode it on any instruction set. */
#ifndef AGENTMEM_QUANTISED_H
#define AGENTMEM_QUANTISED_H

#include "attention_rows.h"

/* Kinds of codes; those of integers are their bits. */
enum { GROUP = 16, AHEAD = 16, BF16 = 1, INT4 = 4, INT8 = 8, INT16 = 16 };

/* Rows of ``dim`` numbers, a multiple of 512 / bits; scales (n, dim / GROUP), none for bf16. */
typedef struct {
    const uint32_t *words;
    const float *scales;
    int64_t dim;
    int kind;
} codes_t;

AGENTMEM_INLINE int code_bits(int kind)
{
    return kind == BF16 ? 16 : kind;
}

typedef struct {
    int64_t n;
    codes_t keys, values;
    const float *query; /* (keys.dim), rotated as the keys are */
    float scale;
    float *out;         /* (values.dim) */
} quantised_t;

#if defined(__clang__) || (defined(__GNUC__) && __GNUC__ >= 12)
typedef float group_t __attribute__((vector_size(64), aligned(4), may_alias));
typedef int32_t block_t __attribute__((vector_size(64), aligned(4), may_alias));
#define GROUP_AT(address) (*(group_t *)(address))
#define DECODE(x, block, k, kind)                                                                  \
    do {                                                                                          \
        const block_t word = *(const block_t *)(block) << (32 - code_bits(kind) * ((k) + 1));     \
        if ((kind) == BF16)                                                                       \
            (x) = (group_t)(word & (int32_t)0xffff0000);                                          \
        else                                                                                      \
            (x) = __builtin_convertvector(word >> (32 - code_bits(kind)), group_t);               \
    } while (0)

/* Ask, a few lines at a time, for a block of the rows AHEAD of these: more at once than there are buffers are dropped. */
#define FETCH(c, rows, words, at, k)                                                              \
    do {                                                                                          \
        for (int t = (k) * EIGHT / per; t < ((k) + 1) * EIGHT / per; t++)                         \
            AGENTMEM_PREFETCH((c)->words + ((rows)[t] + AHEAD) * (words) + (at));                 \
    } while (0)

/* sums[t] = query . row t of eight */
AGENTMEM_INLINE void code_dots(const codes_t *c, const float *query, const int64_t rows[EIGHT], int kind,
                               float sums[EIGHT])
{
    const int64_t groups = c->dim / GROUP, words = c->dim * code_bits(kind) / 32, per = 32 / code_bits(kind);
    group_t s[EIGHT] = {{0}};
    lanes_t half[EIGHT];
    for (int64_t g = 0; g < groups; g += per)
#pragma GCC unroll 8
        for (int k = 0; k < per; k++) {
            FETCH(c, rows, words, g * GROUP / per, k);
            const group_t q = *(const group_t *)(query + (g + k) * GROUP);
#pragma GCC unroll 8
            for (int t = 0; t < EIGHT; t++) {
                group_t x;
                DECODE(x, c->words + rows[t] * words + g * GROUP / per, k, kind);
                s[t] += kind == BF16 ? x * q : x * q * c->scales[rows[t] * groups + g + k];
            }
        }
#pragma GCC unroll 8
    for (int t = 0; t < EIGHT; t++)
        half[t] = __builtin_shufflevector(s[t], s[t], 0, 1, 2, 3, 4, 5, 6, 7) +
                  __builtin_shufflevector(s[t], s[t], 8, 9, 10, 11, 12, 13, 14, 15);
    const lanes_t low = LANES_FOLD_PAIRS(LANES_FOLD(half[0], half[1]), LANES_FOLD(half[2], half[3]));
    const lanes_t high = LANES_FOLD_PAIRS(LANES_FOLD(half[4], half[5]), LANES_FOLD(half[6], half[7]));
    *(lanes_t *)sums = LANES_FOLD_HALVES(low, high);
}

/* out += sum over t of w[t] * row t */
AGENTMEM_INLINE void code_add(const codes_t *c, float *out, const float w[EIGHT], const int64_t rows[EIGHT], int kind)
{
    const int64_t groups = c->dim / GROUP, words = c->dim * code_bits(kind) / 32, per = 32 / code_bits(kind);
    for (int64_t g = 0; g < groups; g += per)
#pragma GCC unroll 8
        for (int k = 0; k < per; k++) {
            FETCH(c, rows, words, g * GROUP / per, k);
            group_t sum = GROUP_AT(out + (g + k) * GROUP);
#pragma GCC unroll 8
            for (int t = 0; t < EIGHT; t++) {
                group_t x;
                DECODE(x, c->words + rows[t] * words + g * GROUP / per, k, kind);
                sum += kind == BF16 ? x * w[t] : x * (w[t] * c->scales[rows[t] * groups + g + k]);
            }
            GROUP_AT(out + (g + k) * GROUP) = sum;
        }
}
#else
/* Number l of group k of a block, but for its scale. */
AGENTMEM_INLINE float decode(const uint32_t *block, int l, int k, int kind)
{
    uint32_t word = block[l] << (32 - code_bits(kind) * (k + 1));
    float x;
    if (kind != BF16)
        return (float)((int32_t)word >> (32 - code_bits(kind)));
    word &= 0xffff0000u;
    memcpy(&x, &word, sizeof x);
    return x;
}

/* Number i of a row. */
AGENTMEM_INLINE float decode_one(const codes_t *c, int64_t row, int64_t i, int kind)
{
    const int64_t g = i / GROUP, per = 32 / code_bits(kind), block = g / per, words = c->dim / per;
    const float scale = kind == BF16 ? 1 : c->scales[row * (c->dim / GROUP) + g];
    return scale * decode(c->words + row * words + block * GROUP, i % GROUP, g % per, kind);
}

AGENTMEM_INLINE void code_dots(const codes_t *c, const float *query, const int64_t rows[EIGHT], int kind,
                               float sums[EIGHT])
{
    for (int t = 0; t < EIGHT; t++) {
        sums[t] = 0;
        for (int64_t i = 0; i < c->dim; i++)
            sums[t] += query[i] * decode_one(c, rows[t], i, kind);
    }
}

AGENTMEM_INLINE void code_add(const codes_t *c, float *out, const float w[EIGHT], const int64_t rows[EIGHT], int kind)
{
    for (int t = 0; t < EIGHT; t++)
        for (int64_t i = 0; i < c->dim; i++)
            out[i] += w[t] * decode_one(c, rows[t], i, kind);
}
#endif

AGENTMEM_INLINE int attend_codes(const quantised_t *a, int keys, int values)
{
    float scores[EIGHT], sum[EIGHT] = {0}, top = -INFINITY, total = 0;
    float bad = probe(a->query, a->keys.dim);
    memset(a->out, 0, a->values.dim * sizeof(float));
    for (int64_t j = 0; j < a->n; j += EIGHT) {
        int64_t rows[EIGHT];
        for (int64_t t = 0; t < EIGHT; t++)
            rows[t] = j + t < a->n ? j + t : a->n - 1;
        code_dots(&a->keys, a->query, rows, keys, scores);
        scale_row(scores, EIGHT, a->scale);
        bad += probe(scores, EIGHT);
        for (int64_t t = a->n - j; t < EIGHT; t++)
            scores[t] = -INFINITY;
        const float high = largest(scores, EIGHT);
        if (high > top) {
            const float shrink = small_exp(top - high);
            scale_row(a->out, a->values.dim, shrink);
            scale_row(sum, EIGHT, shrink);
            top = high;
        }
#pragma omp simd
        for (int t = 0; t < EIGHT; t++) {
            scores[t] = small_exp(scores[t] - top);
            sum[t] += scores[t];
        }
        code_add(&a->values, a->out, scores, rows, values);
    }
    for (int t = 0; t < EIGHT; t++)
        total += sum[t];
    if (total > 0)
        scale_row(a->out, a->values.dim, 1.0f / total);
    return (bad + probe(a->out, a->values.dim)) != 0;
}

/* Returns 1 where the query, a score or the output is NaN or infinite, else 0.  Keys that are the values too share their
   kind; other values are INT16. */
AGENTMEM_CLONES
static int quantised_attend(const quantised_t *a)
{
    const int shared = a->values.kind != INT16;
    switch (a->keys.kind) {
    case INT4:
        return shared ? attend_codes(a, INT4, INT4) : attend_codes(a, INT4, INT16);
    case INT8:
        return shared ? attend_codes(a, INT8, INT8) : attend_codes(a, INT8, INT16);
    default:
        return shared ? attend_codes(a, BF16, BF16) : attend_codes(a, BF16, INT16);
    }
}

#endif
