/* Feature maps of linear attention, and the softmax of groups within a row.  Each is one pass over rows that the caller
   hands over in blocks, so that the products around them find the features in the cache. */
#ifndef AGENTMEM_LINEAR_H
#define AGENTMEM_LINEAR_H

#include "attention_rows.h"

/* out = elu(x) + 1: x + 1 above zero, exp(x) below. */
AGENTMEM_CLONES
static void linear_elu(const float *x, int64_t n, float *out)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
        const float below = small_exp(x[i] < 0 ? x[i] : 0.0f);
        out[i] = x[i] > 0 ? x[i] + 1.0f : below;
    }
}

/* x <- exp(x - shift[row]), where no entry is above its shift. */
AGENTMEM_CLONES
static void linear_exp(float *x, const float *shift, int64_t n, int64_t width)
{
    for (int64_t i = 0; i < n; i++) {
        float *row = x + i * width;
        const float top = shift[i];
#pragma omp simd
        for (int64_t j = 0; j < width; j++)
            row[j] = small_exp(row[j] - top);
    }
}

/* Sine and cosine: x = turn · pi/2 + r with |r| <= pi/4, pi/2 in three parts, a polynomial for each.  Good to a few
   roundings while |x| < 10^4. */
AGENTMEM_INLINE void sine_cosine(float x, float *sine, float *cosine)
{
    const float round_magic = 12582912.0f;
    const float turn = (x * 0.636619772f + round_magic) - round_magic;
    const float r = ((x - turn * 1.5703125f) - turn * 4.837512969970703125e-4f) - turn * 7.54978995489188216e-8f;
    const float square = r * r;
    float s = -1.9515295891e-4f, c = 2.443315711809948e-5f;
    s = s * square + 8.3321608736e-3f;
    s = s * square - 1.6666654611e-1f;
    s = s * square * r + r;
    c = c * square - 1.388731625493765e-3f;
    c = c * square + 4.166664568298827e-2f;
    c = c * square * square - 0.5f * square + 1.0f;
    const int32_t quarter = turn > -1e6f && turn < 1e6f ? (int32_t)turn : 0; /* never of NaN: C does not define it */
    const float first = quarter & 1 ? c : s, second = quarter & 1 ? s : c;
    *sine = quarter & 2 ? -first : first;
    *cosine = (quarter + 1) & 2 ? -second : second;
}

/* out (n, 2 * width) = factor * [sin x, cos x] by row */
AGENTMEM_CLONES
static void linear_waves(const float *x, int64_t n, int64_t width, float factor, float *out)
{
    for (int64_t i = 0; i < n; i++) {
        const float *row = x + i * width;
        float *sines = out + 2 * i * width, *cosines = sines + width;
#pragma omp simd
        for (int64_t j = 0; j < width; j++) {
            float s, c;
            sine_cosine(row[j], &s, &c);
            sines[j] = factor * s;
            cosines[j] = factor * c;
        }
    }
}

/* out (n, 2 * width) = [cosine[i] * relu(x), sine[i] * relu(x)] by row */
AGENTMEM_CLONES
static void linear_ramp(const float *x, const float *cosine, const float *sine, int64_t n, int64_t width, float *out)
{
    for (int64_t i = 0; i < n; i++) {
        const float *row = x + i * width, c = cosine[i], s = sine[i];
        float *first = out + 2 * i * width, *second = first + width;
#pragma omp simd
        for (int64_t j = 0; j < width; j++) {
            const float kept = row[j] > 0 ? row[j] : 0.0f;
            first[j] = c * kept;
            second[j] = s * kept;
        }
    }
}

/* scores (n, offsets[groups]) <- the softmax within each group of columns, times top[row, group]; -inf counts as none. */
AGENTMEM_CLONES
static void linear_group_softmax(float *scores, const float *top, const int64_t *offsets, int64_t n, int64_t groups)
{
    for (int64_t i = 0; i < n; i++)
        for (int64_t g = 0; g < groups; g++) {
            float *row = scores + i * offsets[groups] + offsets[g];
            const int64_t count = offsets[g + 1] - offsets[g];
            const float peak = largest(row, count);
            float sum = 0;
            if (peak == -INFINITY) {
                memset(row, 0, count * sizeof *row);
                continue;
            }
#pragma omp simd reduction(+ : sum)
            for (int64_t j = 0; j < count; j++) {
                row[j] = small_exp(row[j] - peak);
                sum += row[j];
            }
            scale_row(row, count, top[i * groups + g] / sum);
        }
}

#endif
