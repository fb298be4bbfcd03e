/* The heads of memory-heads that every search asks, over m candidates in one pass each; agentmem/rerank/heads.py is
   their definition in NumPy.  NaN says that a source has nothing to say about a row. */
#ifndef AGENTMEM_HEADS_H
#define AGENTMEM_HEADS_H

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "scale.h"

typedef struct {
    const float *dense, *lexical, *late;
} said_t;

typedef struct {
    int64_t m, n_around, n_named, n_spans;
    said_t own, around;
    const float *phrase, *importance, *feedback, *lead;
    const uint8_t *first_round, *inside, *asks, *tells_time;    /* inside: NULL for all */
    const int64_t *speaker_key, *named;
    const double *created_at, *span_starts, *span_ends;
    const int32_t *owner;
    const int8_t *offset;
    float deviation;                    /* NaN: a part of the pool's span */
    float pool_deviations;
    float semantic, lexical, late;      /* points of the neighbours' heads */
    float decay, tells, asks_off, lead_factor;
    double fades_after, fades_before;   /* seconds */
    double recency;
} heads_t;

enum { SEMANTIC, LEXICAL, PHRASE, LATE, NEIGHBOURS, LINKS, TIME, SPEAKER, FORM, RECENCY, IMPORTANCE, FEEDBACK, LEAD };

static inline float or_zero(float value) { return value == value ? value : 0.0f; }

/* What of a value is above the floor; 0 for NaN. */
static inline float above(float value, float floor) { return value > floor ? value - floor : 0.0f; }

/* What of a candidate's value is above the floor; what only a filter lets in may be below it. */
static inline float own(const heads_t *h, int64_t i, float value, float floor)
{
    return h->inside && !h->inside[i] ? or_zero(value - floor) : above(value, floor);
}

/* The least of the first round; NaN where there is none. */
static float floor_of(const float *values, const uint8_t *seen, int64_t m)
{
    float least = NAN;
    for (int64_t i = 0; i < m; i++)
        if (seen[i])
            least = fminf(least, values[i]);
    return least;
}

static float deviation_of(const heads_t *h, float least)
{
    float most = NAN;
    if (h->deviation == h->deviation)
        return h->deviation;
    for (int64_t i = 0; i < h->m; i++)
        if (h->first_round[i])
            most = fmaxf(most, h->own.dense[i]);
    return most - least > 0 ? (most - least) / h->pool_deviations : 1.0f;
}

static void neighbours_head(const heads_t *h, float dense_floor, float late_floor, float deviation, double *sums)
{
    const float semantic = h->semantic / deviation, a_step = expf(-h->decay);
    for (int64_t i = 0; i < h->n_around; i++) {
        const int32_t owner = h->owner[i];
        float weight = a_step;
        if (owner < 0 || owner >= h->m)
            continue;
        const float points = semantic * above(h->around.dense[i], dense_floor) +
                             h->lexical * or_zero(h->around.lexical[i]) +
                             h->late * above(h->around.late[i], late_floor);
        for (int steps = abs(h->offset[i]); steps > 1; steps--)
            weight *= a_step;
        sums[owner] += weight * points;
    }
}

static float time_head(const heads_t *h, double moment)
{
    float best = 0;
    for (int64_t s = 0; s < h->n_spans; s++) {
        const double after = (moment - h->span_ends[s]) / h->fades_after;
        const double before = (h->span_starts[s] - moment) / h->fades_before;
        if (moment == moment)
            best = fmaxf(best, (float)exp(-fmax(fmax(after, before), 0.0)));
    }
    return best;
}

static int names(const heads_t *h, int64_t speaker)
{
    if (speaker != 0)
        for (int64_t n = 0; n < h->n_named; n++)
            if (h->named[n] == speaker)
                return 1;
    return 0;
}

/* Fills table, (13, m), but for its row of links.  sums: m doubles, zeros. */
static void first_stage(const heads_t *h, float *table, double *sums)
{
    const int64_t m = h->m;
    const float dense_floor = floor_of(h->own.dense, h->first_round, m);
    const float late_floor = floor_of(h->own.late, h->first_round, m);
    const float deviation = deviation_of(h, dense_floor);
    double oldest = NAN, newest = NAN;
    for (int64_t i = 0; i < m; i++)
        if (h->first_round[i]) {
            oldest = fmin(oldest, h->created_at[i]);
            newest = fmax(newest, h->created_at[i]);
        }
    neighbours_head(h, dense_floor, late_floor, deviation, sums);
    for (int64_t i = 0; i < m; i++) {
        const double age = (h->created_at[i] - oldest) / (newest - oldest);
        table[SEMANTIC * m + i] = own(h, i, h->own.dense[i], dense_floor) / deviation;
        table[LEXICAL * m + i] = or_zero(h->own.lexical[i]);
        table[PHRASE * m + i] = or_zero(h->phrase[i]);
        table[LATE * m + i] = own(h, i, h->own.late[i], late_floor);
        table[NEIGHBOURS * m + i] = (float)sums[i];
        table[TIME * m + i] = h->n_spans ? time_head(h, h->created_at[i]) : 0.0f;
        table[SPEAKER * m + i] = names(h, h->speaker_key[i]) ? 1.0f : 0.0f;
        table[FORM * m + i] = (h->tells_time[i] ? h->tells : 0.0f) - (h->asks[i] ? h->asks_off : 0.0f);
        table[RECENCY * m + i] = newest > oldest && age == age ? (float)(h->recency * fmin(fmax(age, 0.0), 1.0)) : 0.0f;
        table[IMPORTANCE * m + i] = or_zero(h->importance[i]);
        table[FEEDBACK * m + i] = or_zero(h->feedback[i]);
        table[LEAD * m + i] = or_zero(h->lead[i]) * h->lead_factor;
    }
}

/* Weighs the table, (heads, m), by weights, (heads, m) or (heads, 1), and adds its rows up. */
static void weigh(float *table, const float *weights, int alike, int64_t heads, int64_t m, float *sums)
{
    memset(sums, 0, m * sizeof *sums);
    for (int64_t head = 0; head < heads; head++)
        for (int64_t i = 0; i < m; i++) {
            table[head * m + i] *= weights[alike ? head : head * m + i];
            sums[i] += table[head * m + i];
        }
}

/* The k-th least of n values, which are reordered (Hoare's quickselect). */
static float kth_least(float *values, int64_t n, int64_t k)
{
    int64_t low = 0, high = n - 1;
    while (low < high) {
        const float pivot = values[(low + high) / 2];
        int64_t i = low, j = high;
        while (i <= j) {
            while (values[i] < pivot)
                i++;
            while (values[j] > pivot)
                j--;
            if (i <= j) {
                const float value = values[i];
                values[i++] = values[j];
                values[j--] = value;
            }
        }
        if (k <= j)
            high = j;
        else if (k >= i)
            low = i;
        else
            break;
    }
    return values[k];
}

/* The upper median of the first round, of all where it is empty; pool: room for m. */
static float median_of(const float *scores, const uint8_t *first_round, int64_t m, float *pool)
{
    int64_t n = 0;
    for (int64_t i = 0; i < m; i++)
        if (first_round[i])
            pool[n++] = scores[i];
    if (n == 0)
        memcpy(pool, scores, (n = m) * sizeof *pool);
    return kth_least(pool, n, n / 2);
}

typedef struct {
    int64_t key, best_at;
    float best, second;
} session_t;

static session_t *session_at(session_t *sessions, uint64_t mask, int64_t key)
{
    uint64_t at = ((uint64_t)key * UINT64_C(0x9E3779B97F4A7C15)) >> 20;
    while (sessions[at & mask].key != 0 && sessions[at & mask].key != key)
        at++;
    return &sessions[at & mask];
}

/* out[i] = what the best other candidate of the same session has above the first round's median, of those inside (NULL
   for all); sessions: mask + 1 of them, zeros, more than there are candidates. */
static void best_of_sessions(const int64_t *keys, const float *scores, const uint8_t *first_round,
                             const uint8_t *inside, int64_t m, session_t *sessions, uint64_t mask, float *out)
{
    const float middle = median_of(scores, first_round, m, out);
    for (int64_t i = 0; i < m; i++) {
        const float over = scores[i] > middle ? scores[i] - middle : 0.0f;
        if (keys[i] == 0 || (inside && !inside[i]))
            continue;
        session_t *session = session_at(sessions, mask, keys[i]);
        if (session->key == 0)
            *session = (session_t){keys[i], i, over, 0.0f};
        else if (over > session->best)
            *session = (session_t){keys[i], i, over, session->best};
        else if (over > session->second)
            session->second = over;
    }
    for (int64_t i = 0; i < m; i++) {
        const session_t *session = keys[i] ? session_at(sessions, mask, keys[i]) : NULL;
        out[i] = session == NULL ? 0.0f : session->best_at == i ? session->second : session->best;
    }
}

typedef struct {
    int64_t label, place;
    float score, dense;
} ranked_t;

/* Greater first, NaN last. */
static inline int descending(float a, float b)
{
    if (a != a || b != b)
        return (a != a) - (b != b);
    return (a < b) - (a > b);
}

static inline int comes_first(const ranked_t *a, const ranked_t *b)
{
    if (a->score > b->score || a->score < b->score)
        return a->score > b->score;
    const int by_score = descending(a->score, b->score), by_dense = descending(a->dense, b->dense);
    return by_score ? by_score < 0 : by_dense ? by_dense < 0 : a->label < b->label;
}

/* Sorts m of them, the best first, by merging runs; spare: room for m.  Returns where they are then. */
static ranked_t *sort_ranked(ranked_t *ranked, ranked_t *spare, int64_t m)
{
    for (int64_t run = 1; run < m; run *= 2) {
        for (int64_t start = 0; start < m; start += 2 * run) {
            const int64_t middle = start + run < m ? start + run : m, stop = middle + run < m ? middle + run : m;
            int64_t left = start, right = middle;
            for (int64_t i = start; i < stop; i++) {
                const int later = left == middle || (right < stop && comes_first(ranked + right, ranked + left));
                spare[i] = later ? ranked[right++] : ranked[left++];
            }
        }
        ranked_t *merged = spare;
        spare = ranked;
        ranked = merged;
    }
    return ranked;
}

#endif
