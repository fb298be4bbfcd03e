/* Inner products: int8 codes (AVX-512 VNNI where the CPU has it, portable clones elsewhere) and float32.

   A query is quantised once (`code_query`), rows are int8 codes padded with zeros to a multiple of 64 bytes. */
#ifndef AGENTMEM_DOT_H
#define AGENTMEM_DOT_H

#include <math.h>
#include <stdint.h>
#include <string.h>
#include "simd.h"

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>
#define AGENTMEM_VNNI __attribute__((target("avx512f,avx512bw,avx512vl,avx512vnni")))
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

AGENTMEM_INLINE int32_t dot_portable(const int8_t *row, const int8_t *query, int64_t n) {
    int32_t sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < n; i++) sum += (int32_t)((int16_t)row[i] * (int16_t)query[i]);
    return sum;
}

/* out[i] = codes of rows[i] . query */
AGENTMEM_CLONES
static void dot_rows_portable(const int8_t *codes, const CodeQuery *query, const uint32_t *rows, int64_t count,
                              int32_t *out) {
    for (int64_t i = 0; i < count; i++)
        out[i] = dot_portable(codes + (int64_t)rows[i] * query->stride, query->codes, query->stride);
}

/* out[i] = codes of row `start + i` . query */
AGENTMEM_CLONES
static void dot_range_portable(const int8_t *codes, const CodeQuery *query, int64_t start, int64_t count,
                               int32_t *out) {
    for (int64_t i = 0; i < count; i++)
        out[i] = dot_portable(codes + (start + i) * query->stride, query->codes, query->stride);
}

#ifdef AGENTMEM_VNNI
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

AGENTMEM_VNNI
static void dot_rows_vnni(const int8_t *codes, const CodeQuery *query, const uint32_t *rows, int64_t count,
                          int32_t *out) {
    for (int64_t i = 0; i < count; i++) out[i] = dot_vnni(codes + (int64_t)rows[i] * query->stride, query);
}

AGENTMEM_VNNI
static void dot_range_vnni(const int8_t *codes, const CodeQuery *query, int64_t start, int64_t count, int32_t *out) {
    for (int64_t i = 0; i < count; i++) out[i] = dot_vnni(codes + (start + i) * query->stride, query);
}

#define AGENTMEM_HAS_VNNI                                                                          \
    (__builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl"))
#endif

AGENTMEM_INLINE void dot_rows(const int8_t *codes, const CodeQuery *query, const uint32_t *rows, int64_t count, int32_t *out) {
#ifdef AGENTMEM_VNNI
    if (AGENTMEM_HAS_VNNI) {
        dot_rows_vnni(codes, query, rows, count, out);
        return;
    }
#endif
    dot_rows_portable(codes, query, rows, count, out);
}

AGENTMEM_INLINE void dot_range(const int8_t *codes, const CodeQuery *query, int64_t start, int64_t count, int32_t *out) {
#ifdef AGENTMEM_VNNI
    if (AGENTMEM_HAS_VNNI) {
        dot_range_vnni(codes, query, start, count, out);
        return;
    }
#endif
    dot_range_portable(codes, query, start, count, out);
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
