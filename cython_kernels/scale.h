/* Scores of different kinds on one scale. */
#ifndef AGENTMEM_SCALE_H
#define AGENTMEM_SCALE_H

#include <math.h>
#include <stdint.h>

/* Values scaled to [0, 1] by the least and greatest of those seen (all of them for NULL); 0 for NaN, and for all where
   these are equal. */
static void scale_by(const float *values, const uint8_t *seen, int64_t m, float *out)
{
    float low = INFINITY, high = -INFINITY;
    for (int64_t i = 0; i < m; i++)
        if (!seen || seen[i]) {
            low = fminf(low, values[i]);
            high = fmaxf(high, values[i]);
        }
    for (int64_t i = 0; i < m; i++)
        out[i] = low < high && values[i] == values[i] ? fminf(fmaxf((values[i] - low) / (high - low), 0), 1) : 0;
}

#endif
