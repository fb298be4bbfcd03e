/* Hyperbolic attention (Gulcehre 2018): softmax over -beta * distance, aggregation by the Einstein midpoint.

   A row v stands for the point chart * v: in the Poincare ball, or in the spatial coordinates of the Lorentz model.
   Tangent rows go through the exponential map at the origin, which keeps length: distance(0, exp(v)) = |v|, so both
   models are charts of one space.  Distances come from differences of coordinates, never from a difference of products:
   equal rows are at distance 0 exactly. */
#ifndef AGENTMEM_ATTENTION_HYPERBOLIC_H
#define AGENTMEM_ATTENTION_HYPERBOLIC_H

#include "attention_rows.h"

typedef struct {
    double curvature, beta, clip, epsilon;
    int lorentz, tangent;
} space_t;

typedef struct {
    float chart;   /* coordinates = chart * row */
    float height;  /* Poincare: 1 - c |p|^2; Lorentz: the time coordinate */
    double gamma;   /* Lorentz factor of the Klein point */
    double spatial; /* Lorentz spatial coordinates = spatial * row */
} point_t;

AGENTMEM_INLINE point_t place(const space_t *g, double square)
{
    const double root = sqrt(g->curvature), norm = sqrt(square);
    point_t p;
    if (g->tangent) {
        const double x = root * (norm < g->clip ? norm : g->clip), unit = norm > 0 ? 1 / (root * norm) : 0;
        const double fall = exp(-x), edge = x > 0.5 ? (1 - fall) / (1 + fall) : tanh(x / 2), t = edge < 1 - g->epsilon ? edge : 1 - g->epsilon;
        p.chart = (float)((g->lorentz ? sinh(x) : t) * unit);
        p.height = (float)(g->lorentz ? cosh(x) / root : (1 - t) * (1 + t));
        p.gamma = g->lorentz ? cosh(x) : (1 + t * t) / ((1 - t) * (1 + t));
        p.spatial = (g->lorentz ? sinh(x) : 2 * t / ((1 - t) * (1 + t))) * unit;
    } else if (g->lorentz) {
        p.chart = p.spatial = 1;
        p.height = (float)sqrt(1 / g->curvature + square);
        p.gamma = sqrt(1 + g->curvature * square);
    } else {
        const double edge = root * norm, t = edge < 1 - g->epsilon ? edge : 1 - g->epsilon;
        p.chart = (float)(t < edge ? t / edge : 1);
        p.height = (float)((1 - t) * (1 + t));
        p.gamma = (1 + t * t) / ((1 - t) * (1 + t));
        p.spatial = 2 * p.chart / ((1 - t) * (1 + t));
    }
    return p;
}

/* The factor that takes a Klein point of norm ``norm`` back to the coordinates of the input. */
AGENTMEM_INLINE double from_klein(const space_t *g, double norm)
{
    const double root = sqrt(g->curvature), edge = root * norm;
    const double t = edge < 1 - g->epsilon ? edge : 1 - g->epsilon;
    if (edge == 0)
        return g->tangent || g->lorentz ? 1 : 0.5;
    if (g->tangent)
        return atanh(t) / edge;
    return g->lorentz ? t / edge / sqrt((1 - t) * (1 + t)) : t / edge / (1 + sqrt((1 - t) * (1 + t)));
}

AGENTMEM_INLINE float square_norm(const float *x, int64_t dim)
{
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < dim; i++)
        sum += x[i] * x[i];
    return sum;
}

/* arcosh(1 + excess) */
AGENTMEM_INLINE float distance_of(const space_t *g, float square, float height_q, float height_k)
{
    const float c = (float)g->curvature, rise = height_q - height_k;
    float excess = g->lorentz ? 0.5f * c * (square - rise * rise) : 2 * c * square / (height_q * height_k);
    if (excess < 0)
        excess = 0;
    const float more = excess + sqrtf(excess * (excess + 2));
    return (more > 1 ? logf(1 + more) : log1pf(more)) / sqrtf(c);
}

typedef struct {
    space_t space;
    int64_t n_queries, n_keys, dim, value_dim;
    const float *query, *key, *value;      /* value NULL: scores alone */
    const unsigned char *mask;             /* 1 = keep, or NULL */
    int64_t mask_row;
    float *weights;                        /* (n_queries, n_keys) or NULL; scores where value is NULL */
    float *out;                            /* (n_queries, value_dim), unused where value is NULL */
    point_t *query_points, *key_points, *value_points; /* the last two may be one, where value is key */
    float *centre, *scores, *mixed;        /* scratch: dim, n_keys + EIGHT, n_keys + EIGHT floats */
} hyperbolic_t;

/* Points of rows [j, j + EIGHT) of n, whose addresses are in ``group``; returns NaN where one is not finite. */
AGENTMEM_INLINE float place_group(const space_t *g, const float *const group[EIGHT], int64_t j, int64_t n, int64_t dim,
                                  point_t *points)
{
    float squares[EIGHT];
    norm_group(group, dim, squares);
    for (int64_t t = 0; t < EIGHT && j + t < n; t++)
        points[j + t] = place(g, squares[t]);
    return probe(squares, EIGHT);
}

/* Points of n rows; returns NaN where one is not finite. */
AGENTMEM_INLINE float place_rows(const space_t *g, const float *rows, int64_t n, int64_t dim, point_t *points)
{
    const float *group[EIGHT];
    float bad = 0;
    for (int64_t j = 0; j < n; j += EIGHT) {
        group_rows(rows, NULL, dim, j, n, group);
        bad += place_group(g, group, j, n, dim, points);
    }
    return bad;
}

/* scores[j] = -beta * distance(query i, key j), -inf where masked.  The first query places the keys as it goes, while
   they are in the first-level cache; returns NaN where one is not finite. */
AGENTMEM_INLINE float score_keys(const hyperbolic_t *h, int64_t i)
{
    const space_t *g = &h->space;
    const point_t at = h->query_points[i];
    const float beta = (float)g->beta;
    const float *rows[EIGHT];
    float chart[EIGHT], squares[EIGHT], bad = 0;
    for (int64_t d = 0; d < h->dim; d++)
        h->centre[d] = at.chart * h->query[i * h->dim + d];
    for (int64_t j = 0; j < h->n_keys; j += EIGHT) {
        group_rows(h->key, NULL, h->dim, j, h->n_keys, rows);
        if (i == 0)
            bad += place_group(g, rows, j, h->n_keys, h->dim, h->key_points);
        for (int64_t t = 0; t < EIGHT; t++)
            chart[t] = h->key_points[j + t < h->n_keys ? j + t : h->n_keys - 1].chart;
        gap_group(h->centre, rows, chart, h->dim, squares);
        for (int64_t t = 0; t < EIGHT && j + t < h->n_keys; t++)
            h->scores[j + t] = -beta * distance_of(g, squares[t], at.height, h->key_points[j + t].height);
    }
    for (int64_t j = 0; h->mask && j < h->n_keys; j++)
        if (!h->mask[i * h->mask_row + j])
            h->scores[j] = -INFINITY;
    return bad;
}

/* The Einstein midpoint of the values under softmax(scores), zeros where nothing is kept. */
AGENTMEM_INLINE void midpoint(const hyperbolic_t *h, int64_t i)
{
    const int64_t n = h->n_keys;
    float *out = h->out + i * h->value_dim;
    const float top = largest(h->scores, n), sum = exp_row(h->scores, n, top);
    double weight = 0;
    memset(out, 0, h->value_dim * sizeof *out);
    if (top == -INFINITY) {
        memset(h->scores, 0, n * sizeof *h->scores);
        return;
    }
    for (int64_t j = 0; j < n; j++)
        weight += h->scores[j] * h->value_points[j].gamma;
    for (int64_t j = 0; j < n; j++)
        h->mixed[j] = (float)(h->scores[j] * h->value_points[j].spatial / weight);
    for (int64_t j = n; j % EIGHT; j++)
        h->mixed[j] = 0;
    add_rows(out, h->mixed, h->value, NULL, h->value_dim, n, h->value_dim);
    scale_row(out, h->value_dim, (float)from_klein(&h->space, sqrt(square_norm(out, h->value_dim))));
    scale_row(h->scores, n, 1 / sum);
}

/* Returns 1 where something is NaN or infinite, else 0. */
AGENTMEM_CLONES
static int hyperbolic_run(const hyperbolic_t *h)
{
    float bad = place_rows(&h->space, h->query, h->n_queries, h->dim, h->query_points);
    if (h->value && h->value_points != h->key_points)
        bad += place_rows(&h->space, h->value, h->n_keys, h->value_dim, h->value_points);
    for (int64_t i = 0; i < h->n_queries; i++) {
        bad += score_keys(h, i);
        if (h->value)
            midpoint(h, i);
        if (h->weights)
            memcpy(h->weights + i * h->n_keys, h->scores, h->n_keys * sizeof *h->scores);
    }
    return bad != 0;
}

#endif
