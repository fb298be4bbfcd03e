/* Tokens of int8 codes against the pieces of a query, quantised too: sums of integers, alike on every instruction set. */
#ifndef AGENTMEM_MAXSIM_CODES_H
#define AGENTMEM_MAXSIM_CODES_H

#include "dot.h"

/* Query pieces are met eight at a time and four dimensions in one step: their codes lie as (groups of four dimensions,
   lanes, 4), so that four codes of a token, repeated, meet those of eight pieces. */
#define MAXSIM_LANES 8
#define MAXSIM_TILE 8   /* tokens compared at a time: as many sums as hide the latency of a multiply-add */
#define MAXSIM_STEP 4

typedef struct {
    const int8_t *table;     /* (vocabulary, dim) */
    int64_t dim;
    const float *scales;     /* (vocabulary,), or NULL for 1 */
    const CodeQuery *pieces; /* n of them, of dim bytes each */
    int64_t n, lanes, groups;
    void *columns;           /* the pieces' codes as the kernel reads them, zeros in what is not there */
    int32_t *bias;           /* lanes, see dot_vnni */
    int16_t *rows;           /* (MAXSIM_TILE, groups, MAXSIM_STEP): a tile of the table, as a kernel wants it */
    int isa;                 /* the highest instruction set to take, as AGENTMEM_ISA counts */
} codes_t;

AGENTMEM_INLINE void prefetch_bytes(const void *start, int64_t width)
{
    for (int64_t byte = 0; byte < width; byte += 64)
        AGENTMEM_PREFETCH((const char *)start + byte);
}

AGENTMEM_INLINE float token_scale(const codes_t *c, uint32_t token)
{
    return c->scales ? c->scales[token] : 1.0f;
}

/* similar[t][q] = scale of token t * (token t . piece q), as all three do it.  Behind the tokens stand as many more as a
   tile and what is asked for ahead of it take, in ``similar`` as many more rows as a tile takes. */
static void compare_codes_portable(const codes_t *c, const uint32_t *tokens, int64_t count, float *similar)
{
    int16_t *pieces = c->columns, *row = c->rows; /* compilers know the sums of products of int16 */
    for (int64_t i = 0; i < c->n * c->dim; i++)
        pieces[i] = c->pieces->codes[i];
    for (int64_t t = 0; t < count; t++, similar += c->lanes) {
        const int8_t *codes = c->table + tokens[t] * c->dim;
        prefetch_bytes(c->table + tokens[t + MAXSIM_TILE] * c->dim, c->dim);
        for (int64_t d = 0; d < c->dim; d++)
            row[d] = codes[d];
        for (int64_t q = 0; q < c->lanes; q++) {
            int32_t sum = 0;
            for (int64_t d = 0; q < c->n && d < c->dim; d++)
                sum += (int32_t)row[d] * pieces[q * c->dim + d];
            similar[q] = token_scale(c, tokens[t]) * (float)sum;
        }
    }
}

#ifdef AGENTMEM_X86_DOTS
static void fill_columns(const codes_t *c)
{
    for (int64_t q = 0; q < c->n; q++) {
        const int8_t *piece = c->pieces[q].codes;
        int8_t *column = (int8_t *)c->columns + q * MAXSIM_STEP;
        for (int64_t i = 0; i < c->dim; i++)
            column[i / MAXSIM_STEP * c->lanes * MAXSIM_STEP + i % MAXSIM_STEP] = piece[i];
        c->bias[q] = c->pieces[q].bias;
    }
}

#define STORE_SIMILAR(t, sum)                                                    \
    _mm256_storeu_ps(similar + (t) * c->lanes + q,                               \
                     _mm256_mul_ps(_mm256_set1_ps(token_scale(c, tokens[t])), _mm256_cvtepi32_ps(sum)))

AGENTMEM_VNNI
static void compare_codes_vnni(const codes_t *c, const uint32_t *tokens, int64_t count, float *similar)
{
    const int64_t stride = c->groups * MAXSIM_STEP, step = c->lanes * MAXSIM_STEP;
    uint8_t *rows = (uint8_t *)c->rows;
    for (int64_t i = 0; i < count; i += MAXSIM_TILE, tokens += MAXSIM_TILE, similar += MAXSIM_TILE * c->lanes) {
        for (int t = 0; t < MAXSIM_TILE; t++) {
            const uint8_t *codes = (const uint8_t *)c->table + tokens[t] * c->dim;
            uint8_t *row = rows + t * stride;
            prefetch_bytes(c->table + tokens[t + MAXSIM_TILE] * c->dim, c->dim);
#pragma omp simd
            for (int64_t d = 0; d < c->dim; d++)
                row[d] = codes[d] ^ 0x80;
        }
        for (int64_t q = 0; q < c->lanes; q += MAXSIM_LANES) {
            const int8_t *column = (const int8_t *)c->columns + q * MAXSIM_STEP;
            __m256i sums[MAXSIM_TILE];
#pragma GCC unroll 8
            for (int t = 0; t < MAXSIM_TILE; t++)
                sums[t] = _mm256_loadu_si256((const __m256i *)(c->bias + q));
            const uint8_t *at = rows;
            for (int64_t g = 0; g < c->groups; g++, at += MAXSIM_STEP, column += step) {
                const __m256i pieces = _mm256_loadu_si256((const __m256i *)column);
#pragma GCC unroll 8
                for (int t = 0; t < MAXSIM_TILE; t++) {
                    int32_t four;
                    memcpy(&four, at + t * stride, sizeof four);
                    sums[t] = _mm256_dpbusd_epi32(sums[t], _mm256_set1_epi32(four), pieces);
                }
            }
#pragma GCC unroll 8
            for (int t = 0; t < MAXSIM_TILE; t++)
                STORE_SIMILAR(t, sums[t]);
        }
    }
}

/* Codes as int16, so that no product of a pair is cut off; sums of pairs lie side by side until the end. */
AGENTMEM_AVX2
static void compare_codes_avx2(const codes_t *c, const uint32_t *tokens, int64_t count, float *similar)
{
    enum { HALF = MAXSIM_TILE / 2 };
    const int64_t stride = c->groups * MAXSIM_STEP, step = c->lanes * MAXSIM_STEP;
    for (int64_t i = 0; i < count; i += HALF, tokens += HALF, similar += HALF * c->lanes) {
        for (int t = 0; t < HALF; t++) {
            const int8_t *codes = c->table + tokens[t] * c->dim;
            int16_t *row = c->rows + t * stride;
            prefetch_bytes(c->table + tokens[t + MAXSIM_TILE] * c->dim, c->dim);
#pragma omp simd
            for (int64_t d = 0; d < c->dim; d++)
                row[d] = codes[d];
        }
        for (int64_t q = 0; q < c->lanes; q += MAXSIM_LANES) {
            const int8_t *column = (const int8_t *)c->columns + q * MAXSIM_STEP;
            __m256i low[HALF], high[HALF];
#pragma GCC unroll 4
            for (int t = 0; t < HALF; t++)
                low[t] = high[t] = _mm256_setzero_si256();
            const int16_t *at = c->rows;
            for (int64_t g = 0; g < c->groups; g++, at += MAXSIM_STEP, column += step) {
                const __m256i first = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)column));
                const __m256i last = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)column + 1));
#pragma GCC unroll 4
                for (int t = 0; t < HALF; t++) {
                    int64_t four;
                    memcpy(&four, at + t * stride, sizeof four);
                    const __m256i token = _mm256_set1_epi64x(four);
                    low[t] = _mm256_add_epi32(low[t], _mm256_madd_epi16(token, first));
                    high[t] = _mm256_add_epi32(high[t], _mm256_madd_epi16(token, last));
                }
            }
#pragma GCC unroll 4
            for (int t = 0; t < HALF; t++)
                STORE_SIMILAR(t, _mm256_permute4x64_epi64(_mm256_hadd_epi32(low[t], high[t]), 0xD8));
        }
    }
}
#endif

static void compare_codes(const codes_t *c, const uint32_t *tokens, int64_t count, float *similar)
{
#ifdef AGENTMEM_X86_DOTS
    const int vnni = c->isa >= 4 && AGENTMEM_HAS_VNNI;
    if (vnni || (c->isa >= 3 && AGENTMEM_HAS_AVX2)) {
        fill_columns(c);
        if (vnni)
            compare_codes_vnni(c, tokens, count, similar);
        else
            compare_codes_avx2(c, tokens, count, similar);
        return;
    }
#endif
    compare_codes_portable(c, tokens, count, similar);
}

#endif
