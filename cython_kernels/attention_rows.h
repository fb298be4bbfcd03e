/* What all attention kernels are made of: eight rows at a time, and an exp that the compiler vectorises.

   Rows come in groups of EIGHT, so that a shared operand is loaded once for eight multiply-adds and eight accumulators
   hide the latency.  A last, incomplete group repeats its last row (with weight zero): there is no remainder code. */
#ifndef AGENTMEM_ATTENTION_ROWS_H
#define AGENTMEM_ATTENTION_ROWS_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "simd.h"

enum { EIGHT = 8 };

/* Weights below e^-64 of the largest are zero: they cannot show in float32, and their products would be denormal. */
#define SMALLEST_EXPONENT (-64.0f)

/* exp(x) = 2^n exp(r), of numbers and of vectors: n is x / ln 2 to the nearest integer, r the rest in [-ln2/2, ln2/2]. */
#define EXP_WHOLE(x) (((x) * 1.44269504089f + 12582912.0f) - 12582912.0f) /* adding 1.5 * 2^23 rounds */
#define EXP_REST(x, n) (((x) - (n) * 0.693359375f) + (n) * 2.12194440e-4f)
#define EXP_SERIES(r)                                                                                                 \
    ((((((1.384364407e-03f * (r) + 8.374163392e-03f) * (r) + 4.166800258e-02f) * (r) + 1.666643117e-01f) * (r) +       \
       4.999999421e-01f) * (r) + 1.0f) * (r) + 1.0f)

/* exp(x) for x <= 0, relative error about 1e-7; 2^n by exponent bits.  NaN stays NaN, and never becomes the integer
   n, which C does not define. */
AGENTMEM_INLINE float small_exp(float x)
{
    const float kept = x > SMALLEST_EXPONENT ? x : SMALLEST_EXPONENT;
    const float n = EXP_WHOLE(kept), r = EXP_REST(kept, n);
    float p = EXP_SERIES(r);
    int32_t bits;
    memcpy(&bits, &p, sizeof bits);
    bits += (int32_t)n * (1 << 23);
    memcpy(&p, &bits, sizeof p);
    return x < SMALLEST_EXPONENT ? 0.0f : x == x ? p : x;
}

/* Row addresses of the group that starts at j: through ``index`` where there is one, the last row repeated past n. */
AGENTMEM_INLINE void group_rows(const float *base, const int64_t *index, int64_t stride, int64_t j, int64_t n,
                                const float *rows[EIGHT])
{
    for (int t = 0; t < EIGHT; t++) {
        const int64_t at = j + t < n ? j + t : n - 1;
        rows[t] = base + (index ? index[at] : at) * stride;
    }
}

/* Ask for rows [first, last) of a gather, into the second-level cache: they are more than the first one holds. */
AGENTMEM_INLINE void prefetch_rows(const float *base, const int64_t *index, int64_t stride, int64_t first, int64_t last,
                                   int64_t dim)
{
#if defined(__GNUC__)
    for (int64_t j = first; j < last; j++)
        for (int64_t i = 0; i < dim; i += 16)
            __builtin_prefetch(base + index[j] * stride + i, 0, 2);
#else
    (void)base, (void)index, (void)stride, (void)first, (void)last, (void)dim;
#endif
}

#if defined(__clang__) || (defined(__GNUC__) && __GNUC__ >= 12)
typedef float lanes_t __attribute__((vector_size(32), aligned(4), may_alias));

#define LANES_PICK(a, b, ...) (__builtin_shufflevector(a, b, __VA_ARGS__))
/* Sums of neighbouring lanes of a and b, in turn. */
#define LANES_FOLD(a, b) \
    (LANES_PICK(a, b, 0, 8, 2, 10, 4, 12, 6, 14) + LANES_PICK(a, b, 1, 9, 3, 11, 5, 13, 7, 15))
#define LANES_FOLD_PAIRS(a, b) \
    (LANES_PICK(a, b, 0, 1, 8, 9, 4, 5, 12, 13) + LANES_PICK(a, b, 2, 3, 10, 11, 6, 7, 14, 15))
#define LANES_FOLD_HALVES(a, b) \
    (LANES_PICK(a, b, 0, 1, 2, 3, 8, 9, 10, 11) + LANES_PICK(a, b, 4, 5, 6, 7, 12, 13, 14, 15))

/* sums[t] = sum of TERM(t, i) over i, for eight rows: eight accumulators, folded together at the end (short rows spend
   most of their time there).  TERM(t, i) and TAIL(t, i) are the same product over lanes and over one number. */
#define SUM_GROUP(sums, dim, TERM, TAIL)                                                     \
    do {                                                                                     \
        lanes_t s0 = {0}, s1 = {0}, s2 = {0}, s3 = {0}, s4 = {0}, s5 = {0}, s6 = {0}, s7 = {0}; \
        int64_t i = 0;                                                                       \
        for (; i + EIGHT <= dim; i += EIGHT) {                                               \
            s0 += TERM(0, i);                                                                \
            s1 += TERM(1, i);                                                                \
            s2 += TERM(2, i);                                                                \
            s3 += TERM(3, i);                                                                \
            s4 += TERM(4, i);                                                                \
            s5 += TERM(5, i);                                                                \
            s6 += TERM(6, i);                                                                \
            s7 += TERM(7, i);                                                                \
        }                                                                                    \
        const lanes_t low = LANES_FOLD_PAIRS(LANES_FOLD(s0, s1), LANES_FOLD(s2, s3));         \
        const lanes_t high = LANES_FOLD_PAIRS(LANES_FOLD(s4, s5), LANES_FOLD(s6, s7));        \
        *(lanes_t *)(sums) = LANES_FOLD_HALVES(low, high);                                   \
        for (; i < dim; i++)                                                                 \
            for (int t = 0; t < EIGHT; t++)                                                  \
                (sums)[t] += TAIL(t, i);                                                     \
    } while (0)
#define LANES(address) (*(const lanes_t *)(address))
#define DOT_TERM(t, i) (LANES(x + i) * LANES(rows[t] + i))
#define NORM_TERM(t, i) (LANES(rows[t] + i) * LANES(rows[t] + i))
#define GAP(t, i) (LANES(x + i) - factor[t] * LANES(rows[t] + i))
#define GAP_TERM(t, i) (GAP(t, i) * GAP(t, i))
#else
#define SUM_GROUP(sums, dim, TERM, TAIL)                 \
    do {                                                 \
        for (int t = 0; t < EIGHT; t++) {                \
            float sum = 0;                               \
            _Pragma("omp simd reduction(+ : sum)")       \
            for (int64_t i = 0; i < dim; i++)            \
                sum += TAIL(t, i);                       \
            (sums)[t] = sum;                             \
        }                                                \
    } while (0)
#endif
#define DOT_TAIL(t, i) (x[i] * rows[t][i])
#define NORM_TAIL(t, i) (rows[t][i] * rows[t][i])
#define GAP_TAIL(t, i) ((x[i] - factor[t] * rows[t][i]) * (x[i] - factor[t] * rows[t][i]))

/* sums[t] = x . rows[t] */
AGENTMEM_INLINE void dot_group(const float *x, const float *const rows[EIGHT], int64_t dim, float sums[EIGHT])
{
    SUM_GROUP(sums, dim, DOT_TERM, DOT_TAIL);
}

/* sums[t] = |rows[t]|^2 */
AGENTMEM_INLINE void norm_group(const float *const rows[EIGHT], int64_t dim, float sums[EIGHT])
{
    SUM_GROUP(sums, dim, NORM_TERM, NORM_TAIL);
}

/* sums[t] = |x - factor[t] * rows[t]|^2 */
AGENTMEM_INLINE void gap_group(const float *x, const float *const rows[EIGHT], const float factor[EIGHT], int64_t dim,
                               float sums[EIGHT])
{
    SUM_GROUP(sums, dim, GAP_TERM, GAP_TAIL);
}

/* out += sum over t of w[t] * rows[t] */
AGENTMEM_INLINE void add_group(float *out, const float w[EIGHT], const float *const rows[EIGHT], int64_t dim)
{
    const float *r0 = rows[0], *r1 = rows[1], *r2 = rows[2], *r3 = rows[3];
    const float *r4 = rows[4], *r5 = rows[5], *r6 = rows[6], *r7 = rows[7];
    const float w0 = w[0], w1 = w[1], w2 = w[2], w3 = w[3], w4 = w[4], w5 = w[5], w6 = w[6], w7 = w[7];
#pragma omp simd
    for (int64_t i = 0; i < dim; i++)
        out[i] += ((w0 * r0[i] + w1 * r1[i]) + (w2 * r2[i] + w3 * r3[i])) +
                  ((w4 * r4[i] + w5 * r5[i]) + (w6 * r6[i] + w7 * r7[i]));
}

/* out[j] = scale * (x . row j) */
AGENTMEM_INLINE void dot_rows(const float *x, const float *base, const int64_t *index, int64_t stride, int64_t n,
                              int64_t dim, float scale, float *out)
{
    const float *rows[EIGHT];
    float sums[EIGHT];
    for (int64_t j = 0; j < n; j += EIGHT) {
        group_rows(base, index, stride, j, n, rows);
        dot_group(x, rows, dim, sums);
        for (int64_t t = 0; t < EIGHT && j + t < n; t++)
            out[j + t] = scale * sums[t];
    }
}

/* out += weights . rows; entries of ``weights`` from n up to a multiple of EIGHT are zero. */
AGENTMEM_INLINE void add_rows(float *out, const float *weights, const float *base, const int64_t *index,
                              int64_t stride, int64_t n, int64_t dim)
{
    const float *rows[EIGHT];
    for (int64_t j = 0; j < n; j += EIGHT) {
        group_rows(base, index, stride, j, n, rows);
        add_group(out, weights + j, rows, dim);
    }
}

AGENTMEM_INLINE float largest(const float *x, int64_t n)
{
    float top = -INFINITY;
#pragma omp simd reduction(max : top)
    for (int64_t j = 0; j < n; j++)
        top = x[j] > top ? x[j] : top;
    return top;
}

/* x <- exp(x - top), zeros up to the next multiple of EIGHT; returns the sum. */
AGENTMEM_INLINE float exp_row(float *x, int64_t n, float top)
{
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t j = 0; j < n; j++) {
        const float e = small_exp(x[j] - top);
        x[j] = e;
        sum += e;
    }
    for (int64_t j = n; j % EIGHT; j++)
        x[j] = 0;
    return sum;
}

AGENTMEM_INLINE void scale_row(float *x, int64_t n, float factor)
{
#pragma omp simd
    for (int64_t j = 0; j < n; j++)
        x[j] *= factor;
}

/* NaN when any entry is NaN or infinite, else 0. */
AGENTMEM_INLINE float probe(const float *x, int64_t n)
{
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t j = 0; j < n; j++)
        sum += x[j] * 0.0f;
    return sum;
}

#endif
