/* Routing of a mixture of experts: each query takes its k likeliest experts, each expert at most ``capacity`` queries. */
#ifndef AGENTMEM_ATTENTION_ROUTE_H
#define AGENTMEM_ATTENTION_ROUTE_H

#include <math.h>
#include <stdint.h>

/* The likeliest expert of one query that ``taken`` does not hold yet, the earlier one on a tie. */
static int32_t route_next(const float *logits, int64_t experts, const int32_t *taken, int64_t n_taken)
{
    int32_t best = -1;
    for (int32_t e = 0; e < experts; e++) {
        int64_t t = 0;
        while (t < n_taken && taken[t] != e)
            t++;
        if (t == n_taken && (best < 0 || logits[e] > logits[best]))
            best = e;
    }
    return best;
}

/* chosen and gates (n, k): gates are the softmax over the chosen logits.  First choices are served before second ones,
   queries in order; a query that comes too late has expert -1 and gate 0 there.  ``load`` holds one zero an expert. */
static void route_queries(const float *logits, int64_t n, int64_t experts, int64_t k, int64_t capacity, int32_t *chosen,
                          float *gates, int64_t *load)
{
    for (int64_t i = 0; i < n; i++) {
        const float *row = logits + i * experts;
        double sum = 0;
        for (int64_t t = 0; t < k; t++) {
            chosen[i * k + t] = route_next(row, experts, chosen + i * k, t);
            sum += exp(row[chosen[i * k + t]] - row[chosen[i * k]]);
        }
        for (int64_t t = 0; t < k; t++)
            gates[i * k + t] = (float)(exp(row[chosen[i * k + t]] - row[chosen[i * k]]) / sum);
    }
    for (int64_t t = 0; t < k; t++)
        for (int64_t i = 0; i < n; i++) {
            const int64_t at = i * k + t;
            if (load[chosen[at]]++ >= capacity)
                chosen[at] = -1, gates[at] = 0;
        }
}

#endif
