/* Tokens of int8 codes against the pieces of a query, quantised too: sums of integers, alike on every instruction set. */
#ifndef AGENTMEM_MAXSIM_CODES_H
#define AGENTMEM_MAXSIM_CODES_H

#include "dot.h"

#define MAXSIM_TILE 4   /* tokens compared at a time */
#define MAXSIM_AHEAD 8  /* tokens between one that is asked for and the one that is read */
#define MAXSIM_LANES 8  /* query pieces that a token meets at a time */
#define MAXSIM_BLOCK 64 /* dimensions of a row that are read at a time */

typedef struct {
    const int8_t *table;     /* (vocabulary, dim) */
    int64_t dim, padded;     /* padded to whole blocks */
    const float *scales;     /* (vocabulary,), or NULL for 1 */
    const CodeQuery *pieces; /* n of them, dim bytes each, one behind the other */
    int64_t n, lanes;
    void *columns;           /* (lanes, padded) int16 or fewer: the pieces' codes as the kernel reads them, and zeros */
    int32_t *bias;           /* lanes, see dot_vnni */
    int16_t *rows;           /* (MAXSIM_TILE, padded), zeros behind dim: a tile of the table */
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

/* similar[t][q] = scale of token t * (token t . piece q), as all three do it.  Behind the tokens stand MAXSIM_TILE +
   MAXSIM_AHEAD more, behind the rows of ``similar`` there is room for MAXSIM_TILE. */
static void compare_codes_portable(const codes_t *c, const uint32_t *tokens, int64_t count, float *similar)
{
    int16_t *pieces = c->columns, *row = c->rows; /* compilers know the sums of products of int16 */
    for (int64_t i = 0; i < c->n * c->dim; i++)
        pieces[i] = c->pieces->codes[i];
    for (int64_t t = 0; t < count; t++, similar += c->lanes) {
        const int8_t *codes = c->table + tokens[t] * c->dim;
        prefetch_bytes(c->table + tokens[t + MAXSIM_AHEAD] * c->dim, c->dim);
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
/* Four neighbouring codes of a token, repeated, meet those of four pieces, and that in each sixteen bytes of a block: the
   columns lie as (blocks, 4 fours of each sixteen, lanes / 4, 4 sixteens, 4 pieces, 4 codes). */
static void fill_columns(const codes_t *c)
{
    for (int64_t q = 0; q < c->n; q++) {
        const int8_t *piece = c->pieces[q].codes;
        int8_t *column = (int8_t *)c->columns + q / 4 * MAXSIM_BLOCK + q % 4 * 4;
        for (int64_t i = 0; i < c->dim; i++)
            column[(i / 64 * 4 + i / 4 % 4) * 16 * c->lanes + i / 16 % 4 * 16 + i % 4] = piece[i];
        c->bias[q] = c->pieces[q].bias;
    }
}

#define STORE_SIMILAR(t, sum)                                                    \
    _mm256_storeu_ps(similar + (t) * c->lanes + q,                               \
                     _mm256_mul_ps(_mm256_set1_ps(token_scale(c, tokens[t])), _mm256_cvtepi32_ps(sum)))

/* Sums of a piece's four parts: low has four of them for pieces 0 to 3, high for 4 to 7. */
AGENTMEM_VNNI
static inline __m256i fold_parts(__m512i low, __m512i high)
{
    const __m256i first = _mm256_add_epi32(_mm512_castsi512_si256(low), _mm512_extracti64x4_epi64(low, 1));
    const __m256i last = _mm256_add_epi32(_mm512_castsi512_si256(high), _mm512_extracti64x4_epi64(high, 1));
    return _mm256_add_epi32(_mm256_permute2x128_si256(first, last, 0x20), _mm256_permute2x128_si256(first, last, 0x31));
}

#define MEET_FOUR(four)                                                                            \
    do {                                                                                           \
        const __m512i first = _mm512_loadu_si512(column), last = _mm512_loadu_si512(column + 64);  \
        _Pragma("GCC unroll 4")                                                                    \
        for (int t = 0; t < MAXSIM_TILE; t++) {                                                    \
            const __m512i repeated = _mm512_shuffle_epi32(token[t], (four) * 0x55);                \
            low[t] = _mm512_dpbusd_epi32(low[t], repeated, first);                                 \
            high[t] = _mm512_dpbusd_epi32(high[t], repeated, last);                                \
        }                                                                                          \
        column += step;                                                                            \
    } while (0)

AGENTMEM_VNNI
static void compare_codes_vnni(const codes_t *c, const uint32_t *tokens, int64_t count, float *similar)
{
    const int64_t step = c->lanes * 16;
    const __m512i shift = _mm512_set1_epi8((char)-128);
    for (int64_t i = 0; i < count; i += MAXSIM_TILE, tokens += MAXSIM_TILE, similar += MAXSIM_TILE * c->lanes) {
        const int8_t *row[MAXSIM_TILE];
        for (int t = 0; t < MAXSIM_TILE; t++) {
            row[t] = c->table + tokens[t] * c->dim;
            prefetch_bytes(c->table + tokens[t + MAXSIM_AHEAD] * c->dim, c->dim);
        }
        for (int64_t q = 0; q < c->lanes; q += MAXSIM_LANES) {
            const int8_t *column = (const int8_t *)c->columns + q / 4 * MAXSIM_BLOCK;
            const __m256i bias = _mm256_loadu_si256((const __m256i *)(c->bias + q));
            __m512i low[MAXSIM_TILE], high[MAXSIM_TILE], token[MAXSIM_TILE];
#pragma GCC unroll 4
            for (int t = 0; t < MAXSIM_TILE; t++)
                low[t] = high[t] = _mm512_setzero_si512();
            for (int64_t d = 0; d < c->padded; d += MAXSIM_BLOCK) {
                const __mmask64 there = c->dim - d < 64 ? ~UINT64_C(0) >> (64 - (c->dim - d)) : ~UINT64_C(0);
#pragma GCC unroll 4
                for (int t = 0; t < MAXSIM_TILE; t++)
                    token[t] = _mm512_xor_si512(_mm512_maskz_loadu_epi8(there, row[t] + d), shift);
                MEET_FOUR(0);
                MEET_FOUR(1);
                MEET_FOUR(2);
                MEET_FOUR(3);
            }
#pragma GCC unroll 4
            for (int t = 0; t < MAXSIM_TILE; t++)
                STORE_SIMILAR(t, _mm256_add_epi32(fold_parts(low[t], high[t]), bias));
        }
    }
}

/* Codes as int16, so that no product of a pair is cut off; sums of pairs lie side by side until the end. */
AGENTMEM_AVX2
static void compare_codes_avx2(const codes_t *c, const uint32_t *tokens, int64_t count, float *similar)
{
    for (int64_t i = 0; i < count; i += MAXSIM_TILE, tokens += MAXSIM_TILE, similar += MAXSIM_TILE * c->lanes) {
        for (int t = 0; t < MAXSIM_TILE; t++) {
            const int8_t *codes = c->table + tokens[t] * c->dim;
            int16_t *row = c->rows + t * c->padded;
            prefetch_bytes(c->table + tokens[t + MAXSIM_AHEAD] * c->dim, c->dim);
#pragma omp simd
            for (int64_t d = 0; d < c->dim; d++)
                row[d] = codes[d];
        }
        for (int64_t q = 0; q < c->lanes; q += MAXSIM_LANES) {
            __m256i low[MAXSIM_TILE], high[MAXSIM_TILE];
#pragma GCC unroll 4
            for (int t = 0; t < MAXSIM_TILE; t++)
                low[t] = high[t] = _mm256_setzero_si256();
            const int8_t *column = (const int8_t *)c->columns + q / 4 * MAXSIM_BLOCK;
            for (int64_t step = 0; step < c->padded / 16; step++, column += c->lanes * 16) {
                const int16_t *at = c->rows + step / 4 * MAXSIM_BLOCK + step % 4 * 4;
#pragma GCC unroll 1
                for (int part = 0; part < 4; part++) {
                    const __m256i first = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)column + part));
                    const __m256i last = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)column + part + 4));
#pragma GCC unroll 4
                    for (int t = 0; t < MAXSIM_TILE; t++) {
                        int64_t four;
                        memcpy(&four, at + t * c->padded + part * 16, sizeof four);
                        const __m256i token = _mm256_set1_epi64x(four);
                        low[t] = _mm256_add_epi32(low[t], _mm256_madd_epi16(token, first));
                        high[t] = _mm256_add_epi32(high[t], _mm256_madd_epi16(token, last));
                    }
                }
            }
#pragma GCC unroll 4
            for (int t = 0; t < MAXSIM_TILE; t++)
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
