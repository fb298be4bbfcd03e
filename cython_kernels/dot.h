/* Inner products: int8 codes (by AVX-512 VNNI or AVX2 where the CPU has them, else portable C) and float32.

   A query is quantised once (`code_query`), rows are int8 codes padded with zeros to a multiple of 64 bytes. */
#ifndef AGENTMEM_DOT_H
#define AGENTMEM_DOT_H

#include <math.h>
#include <stdint.h>
#include <string.h>
#include "simd.h"

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>
#define AGENTMEM_X86_DOTS
#define AGENTMEM_VNNI __attribute__((target("avx512f,avx512bw,avx512vl,avx512vnni")))
#define AGENTMEM_AVX2 __attribute__((target("avx2")))
#define AGENTMEM_HAS_VNNI (AGENTMEM_ISA >= 4 && __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512vl"))
#define AGENTMEM_HAS_AVX2 (AGENTMEM_ISA >= 3 && __builtin_cpu_supports("avx2"))
#endif

/* codes: stride bytes; vector ~ scale * codes; bias: -128 * sum(codes), see dot_vnni. */
typedef struct {
    const int8_t *codes;
    int64_t stride;
    float scale;
    int32_t bias;
} CodeQuery;

/* Quantise `dim` floats into `stride` bytes at `codes`: symmetric, scale = max|x| / 127, zero padding. */
static CodeQuery code_query(const float *query, int64_t dim, int64_t stride, int8_t *codes) {
    CodeQuery result = {codes, stride, 0.0f, 0};
    float largest = 0.0f;
    int32_t sum = 0;
    memset(codes, 0, (size_t)stride);
    for (int64_t i = 0; i < dim; i++) {
        float size = fabsf(query[i]);
        largest = size > largest ? size : largest;
    }
    float inverse = 127.0f / largest;
    if (!(inverse > 0.0f) || isinf(inverse)) return result;
    for (int64_t i = 0; i < dim; i++) {
        codes[i] = (int8_t)lrintf(query[i] * inverse);
        sum += codes[i];
    }
    result.scale = largest / 127.0f;
    result.bias = -128 * sum;
    return result;
}

static inline int32_t dot_portable(const int8_t *row, const CodeQuery *query) {
    int32_t sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < query->stride; i++) sum += (int32_t)row[i] * query->codes[i];
    return sum;
}

#ifdef AGENTMEM_X86_DOTS
/* vpdpbusd multiplies unsigned by signed bytes: the row is shifted by 128 and the query's bias takes it back. */
AGENTMEM_VNNI
static inline int32_t dot_vnni(const int8_t *row, const CodeQuery *query) {
    const __m512i shift = _mm512_set1_epi8((char)-128);
    __m512i even = _mm512_setzero_si512(), odd = _mm512_setzero_si512();
    int64_t i = 0;
    for (; i + 128 <= query->stride; i += 128) {
        __m512i low = _mm512_xor_si512(_mm512_loadu_si512(row + i), shift);
        __m512i high = _mm512_xor_si512(_mm512_loadu_si512(row + i + 64), shift);
        even = _mm512_dpbusd_epi32(even, low, _mm512_loadu_si512(query->codes + i));
        odd = _mm512_dpbusd_epi32(odd, high, _mm512_loadu_si512(query->codes + i + 64));
    }
    if (i < query->stride) {
        __m512i low = _mm512_xor_si512(_mm512_loadu_si512(row + i), shift);
        even = _mm512_dpbusd_epi32(even, low, _mm512_loadu_si512(query->codes + i));
    }
    return _mm512_reduce_add_epi32(_mm512_add_epi32(even, odd)) + query->bias;
}

AGENTMEM_AVX2
static inline __m256i multiply_16_codes(const int8_t *a, const int8_t *b) {
    return _mm256_madd_epi16(_mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)a)),
                             _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)b)));
}

AGENTMEM_AVX2
static inline int32_t dot_avx2(const int8_t *row, const CodeQuery *query) {
    __m256i even = _mm256_setzero_si256(), odd = _mm256_setzero_si256();
    for (int64_t i = 0; i < query->stride; i += 32) {
        even = _mm256_add_epi32(even, multiply_16_codes(row + i, query->codes + i));
        odd = _mm256_add_epi32(odd, multiply_16_codes(row + i + 16, query->codes + i + 16));
    }
    even = _mm256_add_epi32(even, odd);
    __m128i four = _mm_add_epi32(_mm256_castsi256_si128(even), _mm256_extracti128_si256(even, 1));
    four = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0x4e));
    return _mm_cvtsi128_si32(_mm_add_epi32(four, _mm_shuffle_epi32(four, 0xb1)));
}
#endif

/* Loops over listed rows and over consecutive rows, for one instruction set. */
#define AGENTMEM_DOT_LOOPS(SET, TARGET)                                                                              \
    TARGET static void dot_rows_##SET(const int8_t *codes, const CodeQuery *query, const uint32_t *rows,            \
                                      int64_t count, int32_t *out) {                                                \
        for (int64_t i = 0; i < count; i++) out[i] = dot_##SET(codes + (int64_t)rows[i] * query->stride, query);    \
    }                                                                                                               \
    TARGET static void dot_range_##SET(const int8_t *codes, const CodeQuery *query, int64_t start, int64_t count,   \
                                       int32_t *out) {                                                              \
        for (int64_t i = 0; i < count; i++) out[i] = dot_##SET(codes + (start + i) * query->stride, query);         \
    }

AGENTMEM_DOT_LOOPS(portable, )
#ifdef AGENTMEM_X86_DOTS
AGENTMEM_DOT_LOOPS(vnni, AGENTMEM_VNNI)
AGENTMEM_DOT_LOOPS(avx2, AGENTMEM_AVX2)
#define AGENTMEM_DOT(LOOP, ...)                           \
    (AGENTMEM_HAS_VNNI   ? LOOP##_vnni(__VA_ARGS__)       \
     : AGENTMEM_HAS_AVX2 ? LOOP##_avx2(__VA_ARGS__)       \
                         : LOOP##_portable(__VA_ARGS__))
#else
#define AGENTMEM_DOT(LOOP, ...) LOOP##_portable(__VA_ARGS__)
#endif

/* out[i] = codes of row rows[i] . query */
AGENTMEM_INLINE void dot_rows(const int8_t *codes, const CodeQuery *query, const uint32_t *rows, int64_t count,
                              int32_t *out) {
    AGENTMEM_DOT(dot_rows, codes, query, rows, count, out);
}

/* out[i] = codes of row start + i . query */
AGENTMEM_INLINE void dot_range(const int8_t *codes, const CodeQuery *query, int64_t start, int64_t count,
                               int32_t *out) {
    AGENTMEM_DOT(dot_range, codes, query, start, count, out);
}

AGENTMEM_INLINE float dot_float(const float *a, const float *b, int64_t n) {
    float sum = 0.0f;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < n; i++) sum += a[i] * b[i];
    return sum;
}

AGENTMEM_INLINE float squared_distance(const float *a, const float *b, int64_t n) {
    float sum = 0.0f;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < n; i++) {
        float difference = a[i] - b[i];
        sum += difference * difference;
    }
    return sum;
}

/* Exact score of a row, higher is better: the inner product, or minus the squared distance. */
AGENTMEM_INLINE float exact_score(const float *row, const float *query, int64_t dim, int l2) {
    return l2 ? -squared_distance(row, query, dim) : dot_float(row, query, dim);
}

#endif
