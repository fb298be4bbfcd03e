/* Softmax attention of one query on AVX-512: registers of sixteen numbers, loaded only where they are aligned.

   A load across two cache lines takes two turns, and NumPy's arrays begin anywhere.  So a row is read from the last
   multiple of sixteen numbers before it, and query and output are laid out alike, with zeros beside the query: what lies
   beside a row is other keys, and what comes of it is not looked at.  Only in the first and the last group of rows, which
   may have nothing beside them, registers are masked. */
#ifndef AGENTMEM_ATTENTION_ONE_WIDE_H
#define AGENTMEM_ATTENTION_ONE_WIDE_H

#include "attention_running.h"

enum { SIXTEEN = 16, WIDE_MOST = 4096 };

/* Whether rows lie one behind the other, all heads alike, in whole registers, and are short enough for the stack. */
static int attention_wide_fits(const attention_t *a)
{
    const int64_t longest = a->dim > a->value_dim ? a->dim : a->value_dim;
    const int merged = a->key_head == a->dim && a->key_row == a->heads * a->dim && a->value_head == a->value_dim &&
                       a->value_row == a->heads * a->value_dim;
    const int apart = a->key_row == a->dim && a->value_row == a->value_dim;
    return agentmem_isa() >= 4 && a->n_keys >= EIGHT && (merged || apart) && a->dim % SIXTEEN == 0 &&
           a->value_dim % SIXTEEN == 0 && (a->key_head | a->value_head) % SIXTEEN == 0 &&
           a->heads * (longest + SIXTEEN) <= WIDE_MOST;
}

#if defined(AGENTMEM_X86) && AGENTMEM_ISA >= 4
#include <immintrin.h>

#define AGENTMEM_WIDE
#define WIDE_TARGET __attribute__((target("arch=x86-64-v4")))
#define WIDE_INLINE WIDE_TARGET AGENTMEM_INLINE
#define WIDE_OUT_OF_LINE WIDE_TARGET static __attribute__((noinline))
#define WIDE_ALIGNED __attribute__((aligned(64)))
#define NOT_FINITE 0x99

/* A pointer in a register of its own: GCC would keep sums of strides and offsets, more than there are registers. */
#define WIDE_KEEP(pointer) __asm__("" : "+r"(pointer))

/* How rows lie: numbers between the first register and the row, registers of a row, lanes of the first and the last. */
typedef struct {
    int64_t before, registers;
    __mmask16 first, last;
} laid_t;

WIDE_INLINE laid_t laid_out(const float *row, int64_t dim)
{
    const int64_t before = ((intptr_t)row & 63) / (int64_t)sizeof(float);
    return (laid_t){before, dim / SIXTEEN + (before > 0), (__mmask16)(0xffff << before),
                    before ? (__mmask16)(0xffff >> (SIXTEEN - before)) : (__mmask16)0xffff};
}

WIDE_INLINE void eight_rows(const float *first, int64_t stride, const float *rows[EIGHT])
{
#pragma GCC unroll 8
    for (int t = 0; t < EIGHT; t++) {
        rows[t] = first + t * stride;
        WIDE_KEEP(rows[t]);
    }
}

/* A register at the end of a row, all of it where that is ``open``. */
WIDE_INLINE __m512 end_of(const float *row, int open, __mmask16 lanes)
{
    return open ? _mm512_load_ps(row) : _mm512_maskz_load_ps(lanes, row);
}

WIDE_INLINE __m256 fold(__m256 a, __m256 b)
{
    return _mm256_add_ps(_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
}

WIDE_INLINE __m256 fold_pairs(__m256 a, __m256 b)
{
    const __m256d x = _mm256_castps_pd(a), y = _mm256_castps_pd(b);
    return _mm256_add_ps(_mm256_castpd_ps(_mm256_unpacklo_pd(x, y)), _mm256_castpd_ps(_mm256_unpackhi_pd(x, y)));
}

/* sums[t] = x, laid out, . row t */
WIDE_INLINE void dot_wide(const float *x, const float *first, int64_t stride, laid_t l, int open, float sums[EIGHT])
{
    const float *rows[EIGHT];
    const int64_t last = (l.registers - 1) * SIXTEEN;
    __m512 s[EIGHT];
    __m256 half[EIGHT];
    eight_rows(first, stride, rows);
#pragma GCC unroll 8
    for (int t = 0; t < EIGHT; t++)
        s[t] = _mm512_mul_ps(_mm512_load_ps(x), end_of(rows[t], open, l.first));
#pragma GCC unroll 4
    for (int64_t i = SIXTEEN; i < last; i += SIXTEEN)
#pragma GCC unroll 8
        for (int t = 0; t < EIGHT; t++)
            s[t] = _mm512_fmadd_ps(_mm512_load_ps(x + i), _mm512_load_ps(rows[t] + i), s[t]);
    if (last > 0)
#pragma GCC unroll 8
        for (int t = 0; t < EIGHT; t++)
            s[t] = _mm512_fmadd_ps(_mm512_load_ps(x + last), end_of(rows[t] + last, open, l.last), s[t]);
#pragma GCC unroll 8
    for (int t = 0; t < EIGHT; t++)
        half[t] = _mm256_add_ps(_mm512_castps512_ps256(s[t]), _mm512_extractf32x8_ps(s[t], 1));
    const __m256 low = fold_pairs(fold(half[0], half[1]), fold(half[2], half[3]));
    const __m256 high = fold_pairs(fold(half[4], half[5]), fold(half[6], half[7]));
    _mm256_store_ps(sums, _mm256_add_ps(_mm256_permute2f128_ps(low, high, 0x20),
                                        _mm256_permute2f128_ps(low, high, 0x31)));
}

/* out[i ...] += sum over t of w[t] * rows[t][i ...] */
WIDE_INLINE void add_wide(float *out, const __m512 w[EIGHT], const float *const rows[EIGHT], int64_t i, int open,
                          __mmask16 lanes)
{
    __m512 even = _mm512_load_ps(out + i), odd = _mm512_setzero_ps();
#pragma GCC unroll 4
    for (int t = 0; t < EIGHT; t += 2) {
        even = _mm512_fmadd_ps(w[t], end_of(rows[t] + i, open, lanes), even);
        odd = _mm512_fmadd_ps(w[t + 1], end_of(rows[t + 1] + i, open, lanes), odd);
    }
    _mm512_store_ps(out + i, _mm512_add_ps(even, odd));
}

/* out, laid out, += sum over t of weights[t] * row t; asks for what lies ``ahead`` bytes behind the rows. */
WIDE_INLINE void add_rows_wide(float *out, const float weights[EIGHT], const float *first, int64_t stride, laid_t l,
                               int open, intptr_t ahead)
{
    const float *rows[EIGHT];
    const int64_t last = (l.registers - 1) * SIXTEEN;
    __m512 w[EIGHT];
    eight_rows(first, stride, rows);
#pragma GCC unroll 8
    for (int t = 0; t < EIGHT; t++)
        w[t] = _mm512_set1_ps(weights[t]);
    add_wide(out, w, rows, 0, open, l.first);
#pragma GCC unroll 4
    for (int64_t i = SIXTEEN; i < last; i += SIXTEEN) {
#pragma GCC unroll 8
        for (int t = 0; t < EIGHT; t++)
            AGENTMEM_PREFETCH((const char *)(rows[t] + i) + ahead);
        add_wide(out, w, rows, i, 1, 0);
    }
#pragma GCC unroll 8
    for (int t = 0; t < EIGHT; t++)
        AGENTMEM_PREFETCH((const char *)(rows[t] + last) + ahead);
    if (last > 0)
        add_wide(out, w, rows, last, open, l.last);
}

/* Eight keys or values of every head: the rows of a head are ``stride`` numbers apart. */
typedef struct {
    const float *first;
    int64_t heads, stride, head;
    laid_t laid;
} group_t;

WIDE_INLINE void score_heads(const float *query, const group_t *g, laid_t laid, int open, float *scores)
{
    const float *first = g->first;
    for (int64_t h = 0; h < g->heads; h++, first += g->head, query += laid.registers * SIXTEEN, scores += EIGHT)
        dot_wide(query, first, g->stride, laid, open, scores);
}

WIDE_INLINE void add_heads(float *out, const group_t *g, laid_t laid, int open, intptr_t ahead, const float *weights)
{
    const float *first = g->first;
    for (int64_t h = 0; h < g->heads; h++, first += g->head, out += laid.registers * SIXTEEN, weights += EIGHT)
        add_rows_wide(out, weights, first, g->stride, laid, open, ahead);
}

WIDE_OUT_OF_LINE void score_edge(const float *query, const group_t *g, float *scores)
{
    score_heads(query, g, g->laid, 0, scores);
}

WIDE_OUT_OF_LINE void add_edge(float *out, const group_t *g, intptr_t ahead, const float *weights)
{
    add_heads(out, g, g->laid, 0, ahead, weights);
}

/* small_exp of eight numbers; what is below SMALLEST_EXPONENT is taken for it. */
WIDE_INLINE __m256 exp_wide(__m256 x)
{
    const __m256 kept = _mm256_max_ps(x, _mm256_set1_ps(SMALLEST_EXPONENT));
    const __m256 n = EXP_WHOLE(kept), r = EXP_REST(kept, n);
    return _mm256_scalef_ps(EXP_SERIES(r), n);
}

WIDE_OUT_OF_LINE void raise_wide(const attention_t *a, int64_t heads, running_t *r)
{
    raise_tops(a, heads, r);
}

/* weigh_group with 0 in the lanes that another group has ``seen``; returns whether something is not finite.  What was
   stored as eight numbers is loaded as eight: sixteen would wait until both stores are in the cache. */
WIDE_INLINE int weigh_wide(const attention_t *a, int64_t heads, int64_t seen, running_t *r)
{
    const __mmask8 kept = (__mmask8)(0xff << seen);
    int bad = 0, above = 0;
    for (int64_t i = 0; i < heads * EIGHT; i += EIGHT) {
        const __m256 score = _mm256_mul_ps(_mm256_load_ps(r->scores + i), _mm256_set1_ps(a->scale));
        const __m256 over = _mm256_sub_ps(score, _mm256_load_ps(r->top + i));
        above |= _mm256_cmp_ps_mask(over, _mm256_set1_ps(SLACK), _CMP_GT_OQ);
        bad |= _mm256_fpclass_ps_mask(score, NOT_FINITE);
        _mm256_store_ps(r->scores + i, score);
        _mm256_store_ps(r->weights + i, _mm256_maskz_mov_ps(kept, exp_wide(over)));
    }
    if (above) {
        raise_wide(a, heads, r);
        for (int64_t i = 0; i < heads * EIGHT; i += EIGHT) {
            const __m256 over = _mm256_sub_ps(_mm256_load_ps(r->scores + i), _mm256_load_ps(r->top + i));
            _mm256_store_ps(r->weights + i, _mm256_maskz_mov_ps(kept, exp_wide(over)));
        }
    }
    for (int64_t i = 0; i < heads * EIGHT; i += EIGHT)
        _mm256_store_ps(r->sum + i, _mm256_add_ps(_mm256_load_ps(r->sum + i), _mm256_load_ps(r->weights + i)));
    return bad;
}

WIDE_INLINE int attend_wide(const attention_t *a, laid_t key, laid_t value, float *logsum)
{
    float query[2 * WIDE_MOST] WIDE_ALIGNED, *out = query + a->heads * key.registers * SIXTEEN;
    group_t keys = {NULL, a->heads, a->key_row, a->key_head, key};
    group_t values = {NULL, a->heads, a->value_row, a->value_head, value};
    attention_t laid = *a;
    running_t r WIDE_ALIGNED;
    int bad = 0;
    laid.out = out, laid.out_head = laid.value_dim = value.registers * SIXTEEN;
    memset(query, 0, a->heads * (key.registers + value.registers) * SIXTEEN * sizeof *query);
    for (int64_t i = 0; i < a->heads * EIGHT; i++)
        r.sum[i] = 0, r.top[i] = -INFINITY;
    for (int64_t h = 0; h < a->heads; h++)
        for (int64_t i = 0; i < a->dim; i += SIXTEEN) {
            const __m512 x = _mm512_loadu_ps(a->query + h * a->query_head + i);
            bad |= _mm512_fpclass_ps_mask(x, NOT_FINITE);
            _mm512_storeu_ps(query + h * key.registers * SIXTEEN + key.before + i, x);
        }
    for (int64_t j = 0; j < a->n_keys; j += EIGHT) {
        const int64_t left = a->n_keys - j, at = left < EIGHT ? a->n_keys - EIGHT : j;
        const int edge = j == 0 || left <= EIGHT;
        keys.first = a->key - key.before + at * a->key_row;
        values.first = a->value - value.before + at * a->value_row;
        if (edge && key.before)
            score_edge(query, &keys, r.scores);
        else
            score_heads(query, &keys, key, 1, r.scores);
        bad |= weigh_wide(&laid, a->heads, j - at, &r);
        const intptr_t next = left < 2 * EIGHT ? 0 : EIGHT * a->key_row * (int64_t)sizeof(float);
        const intptr_t ahead = (intptr_t)keys.first + next - (intptr_t)values.first;
        if (edge && value.before)
            add_edge(out, &values, ahead, r.weights);
        else
            add_heads(out, &values, value, 1, ahead, r.weights);
    }
    for (int64_t h = 0; h < a->heads; h++) {
        float sum = 0;
        for (int t = 0; t < EIGHT; t++)
            sum += r.sum[h * EIGHT + t];
        if (logsum)
            logsum[h] = r.top[h * EIGHT] + logf(sum);
        for (int64_t i = 0; i < a->value_dim; i += SIXTEEN) {
            const __m512 x = _mm512_mul_ps(_mm512_set1_ps(1.0f / sum),
                                           _mm512_loadu_ps(out + h * laid.out_head + value.before + i));
            bad |= _mm512_fpclass_ps_mask(x, NOT_FINITE);
            _mm512_storeu_ps(a->out + h * a->out_head + i, x);
        }
    }
    return bad != 0;
}

/* The same for so many registers, a constant: short heads spend most of their time around their loops. */
#define WIDE_REGISTERS(N)                                                                                            \
    WIDE_OUT_OF_LINE int attend_wide_##N(const attention_t *a, laid_t key, laid_t value, float *logsum)                 \
    {                                                                                                                \
        key.registers = value.registers = N;                                                                         \
        return attend_wide(a, key, value, logsum);                                                                   \
    }
#define WIDE_CASE(N) \
    case N:          \
        return attend_wide_##N(a, key, value, logsum);
WIDE_REGISTERS(2) WIDE_REGISTERS(3) WIDE_REGISTERS(4) WIDE_REGISTERS(5) WIDE_REGISTERS(6) WIDE_REGISTERS(7)

/* attention_one where attention_wide_fits. */
WIDE_OUT_OF_LINE int attention_wide(const attention_t *a, float *logsum)
{
    const laid_t key = laid_out(a->key, a->dim), value = laid_out(a->value, a->value_dim);
    switch (key.registers == value.registers ? key.registers : 0) {
        WIDE_CASE(2) WIDE_CASE(3) WIDE_CASE(4) WIDE_CASE(5) WIDE_CASE(6) WIDE_CASE(7)
    default:
        return attend_wide(a, key, value, logsum);
    }
}
#endif
#endif
