/* One instruction set's version of attention by tiles; included once for each, with these set:

   TILE(name)    the name of a function for this set
   TILE_TARGET   its target attribute
   TILE_BYTES    bytes of a vector register
   TILE_ROWS     rows of an accumulator tile; with two registers a row, the accumulators and three more must fit

   Queries stand side by side in the lanes: TILE_WIDTH of them are a panel, packed as (dim, TILE_WIDTH), so that keys and
   values are read as they lie.  Scores of a block of keys are (n, TILE_WIDTH); a softmax runs down the lanes. */

#define TILE_LANES (TILE_BYTES / 4)
#define TILE_WIDTH (2 * TILE_LANES)

typedef float TILE(vec) __attribute__((vector_size(TILE_BYTES), aligned(4), may_alias));
typedef int32_t TILE(ivec) __attribute__((vector_size(TILE_BYTES), aligned(4), may_alias));

/* sums[r] += sum over k of a[r][k * a_step] * b[k * b_step ... + TILE_WIDTH) */
TILE_TARGET AGENTMEM_INLINE void TILE(multiply)(const float *const a[TILE_ROWS], int64_t a_step, const float *b,
                                                int64_t b_step, int64_t depth, TILE(vec) sums[TILE_ROWS][2])
{
    TILE(vec) s[TILE_ROWS][2];
#pragma GCC unroll 16
    for (int r = 0; r < TILE_ROWS; r++)
        s[r][0] = sums[r][0], s[r][1] = sums[r][1];
    for (int64_t k = 0; k < depth; k++) {
        const TILE(vec) b0 = *(const TILE(vec) *)(b + k * b_step);
        const TILE(vec) b1 = *(const TILE(vec) *)(b + k * b_step + TILE_LANES);
#pragma GCC unroll 16
        for (int r = 0; r < TILE_ROWS; r++) {
            const float x = a[r][k * a_step];
            s[r][0] += x * b0;
            s[r][1] += x * b1;
        }
    }
#pragma GCC unroll 16
    for (int r = 0; r < TILE_ROWS; r++)
        sums[r][0] = s[r][0], sums[r][1] = s[r][1];
}

/* scores (n rounded up to TILE_ROWS, TILE_WIDTH) = scale * keys . panel; returns the probe. */
TILE_TARGET static float TILE(score_keys)(const float *key, int64_t key_row, int64_t n, const float *panel, int64_t dim,
                                          float scale, float *scores)
{
    TILE(vec) bad = {0};
    float sum = 0;
    for (int64_t j = 0; j < n; j += TILE_ROWS) {
        const float *rows[TILE_ROWS];
        TILE(vec) s[TILE_ROWS][2] = {{{0}}};
        for (int r = 0; r < TILE_ROWS; r++)
            rows[r] = key + (j + r < n ? j + r : n - 1) * key_row;
        TILE(multiply)(rows, 1, panel, TILE_WIDTH, dim, s);
#pragma GCC unroll 16
        for (int r = 0; r < TILE_ROWS; r++) {
            TILE(vec) *to = (TILE(vec) *)(scores + (j + r) * TILE_WIDTH);
            to[0] = s[r][0] * scale;
            to[1] = s[r][1] * scale;
            bad += (to[0] + to[1]) * 0.0f;
        }
    }
    for (int t = 0; t < TILE_LANES; t++)
        sum += bad[t];
    return sum;
}

/* exp of two vectors; see small_exp.  What is not a number has been reported by the scores' probe. */
TILE_TARGET AGENTMEM_INLINE void TILE(exp_lanes)(TILE(vec) x[2])
{
#pragma GCC unroll 2
    for (int h = 0; h < 2; h++) {
        const TILE(ivec) kept = x[h] > SMALLEST_EXPONENT;
        const TILE(vec) y = (TILE(vec))((TILE(ivec))x[h] & kept);
        const TILE(vec) n = EXP_WHOLE(y), r = EXP_REST(y, n), p = EXP_SERIES(r);
        const TILE(ivec) whole = __builtin_convertvector(n, TILE(ivec));
        x[h] = (TILE(vec))(((TILE(ivec))p + (whole << 23)) & kept);
    }
}

/* Scores (n, TILE_WIDTH) -> exponentials under the running maximum; shrink is what older sums and outputs lose. */
TILE_TARGET static void TILE(softmax_lanes)(float *scores, int64_t n, float *top, float *sum, float *shrink)
{
    TILE(vec) *rows = (TILE(vec) *)scores, high[2], total[2] = {{0}}, base[2], older[2];
    for (int h = 0; h < 2; h++)
        high[h] = ((TILE(vec) *)top)[h];
    for (int64_t j = 0; j < n; j++)
#pragma GCC unroll 2
        for (int h = 0; h < 2; h++) {
            const TILE(ivec) more = rows[2 * j + h] > high[h];
            high[h] = (TILE(vec))(((TILE(ivec))rows[2 * j + h] & more) | ((TILE(ivec))high[h] & ~more));
        }
    for (int h = 0; h < 2; h++) {
        const TILE(ivec) some = high[h] > -INFINITY; /* a query that has kept nothing yet: exp(-inf - 0) = 0 */
        base[h] = (TILE(vec))((TILE(ivec))high[h] & some);
        older[h] = ((TILE(vec) *)top)[h] - base[h];
        ((TILE(vec) *)top)[h] = high[h];
    }
    for (int64_t j = 0; j < n; j++) {
        TILE(vec) e[2] = {rows[2 * j] - base[0], rows[2 * j + 1] - base[1]};
        TILE(exp_lanes)(e);
        rows[2 * j] = e[0], rows[2 * j + 1] = e[1];
        total[0] += e[0], total[1] += e[1];
    }
    TILE(exp_lanes)(older);
    for (int h = 0; h < 2; h++) {
        ((TILE(vec) *)shrink)[h] = older[h];
        ((TILE(vec) *)sum)[h] = ((TILE(vec) *)sum)[h] * older[h] + total[h];
    }
}

/* out[r] = shrink[r] * out[r] + sum over j of weights[j][r] * value[j], for TILE_ROWS queries of a panel; columns past
   the last whole TILE_WIDTH come from ``tail`` (n, TILE_WIDTH), padded with zeros. */
TILE_TARGET static void TILE(add_values)(float *const out[TILE_ROWS], const float *shrink, const float *weights,
                                         const float *value, int64_t value_row, const float *tail, int64_t n,
                                         int64_t value_dim)
{
    const float *lanes[TILE_ROWS];
    for (int r = 0; r < TILE_ROWS; r++)
        lanes[r] = weights + r;
    for (int64_t c = 0; c < value_dim; c += TILE_WIDTH) {
        const int64_t left = value_dim - c;
        TILE(vec) s[TILE_ROWS][2];
        float edge[TILE_ROWS][TILE_WIDTH];
        if (left >= TILE_WIDTH) {
#pragma GCC unroll 16
            for (int r = 0; r < TILE_ROWS; r++)
                for (int h = 0; h < 2; h++)
                    s[r][h] = shrink[r] * *(TILE(vec) *)(out[r] + c + h * TILE_LANES);
            TILE(multiply)(lanes, TILE_WIDTH, value + c, value_row, n, s);
#pragma GCC unroll 16
            for (int r = 0; r < TILE_ROWS; r++)
                for (int h = 0; h < 2; h++)
                    *(TILE(vec) *)(out[r] + c + h * TILE_LANES) = s[r][h];
            continue;
        }
        memset(s, 0, sizeof s);
        TILE(multiply)(lanes, TILE_WIDTH, tail, TILE_WIDTH, n, s);
        memcpy(edge, s, sizeof edge);
        for (int r = 0; r < TILE_ROWS; r++)
            for (int64_t t = 0; t < left; t++)
                out[r][c + t] = shrink[r] * out[r][c + t] + edge[r][t];
    }
}

/* One block of keys for one panel of queries: scores, softmax, values; returns the probe of the scores. */
TILE_TARGET static float TILE(attend_panel)(const tile_t *t, const float *panel, const float *tail, float *state,
                                            float *scores, float *spare)
{
    const attention_t *a = t->a;
    float shrink[TILE_WIDTH], *out[TILE_ROWS];
    const float *key = a->key + group_of(a, t->head) * a->key_head + t->start * a->key_row;
    const float *value = a->value + group_of(a, t->head) * a->value_head + t->start * a->value_row;
    const float bad = TILE(score_keys)(key, a->key_row, t->n, panel, a->dim, a->scale, scores);
    hide_keys(t, scores, TILE_WIDTH);
    TILE(softmax_lanes)(scores, t->n, state, state + TILE_WIDTH, shrink);
    for (int64_t i = 0; i < t->count; i += TILE_ROWS) {
        for (int64_t r = 0; r < TILE_ROWS; r++)
            out[r] = i + r < t->count ? tile_out(t, i + r) : spare;
        TILE(add_values)(out, shrink + i, scores + i, value, a->value_row, tail, t->n, a->value_dim);
    }
    return bad;
}

/* Queries [first, first + count) of a head over all their keys; returns NaN where something was not finite, else 0. */
TILE_TARGET static float TILE(attend_chunk)(const attention_t *a, int64_t head, int64_t first, int64_t count,
                                            float *scratch)
{
    const int64_t panels = (count + TILE_WIDTH - 1) / TILE_WIDTH, whole = a->value_dim / TILE_WIDTH * TILE_WIDTH;
    const int64_t last = keys_seen(a, first + count - 1);
    float *state = scratch, *packed = state + panels * 2 * TILE_WIDTH, *tail = packed + panels * a->dim * TILE_WIDTH;
    float *scores = whole < a->value_dim ? tail + a->block * TILE_WIDTH : tail;
    float *spare = scores + (a->block + TILE_ROWS) * TILE_WIDTH;
    tile_t all = {a, head, first, count, 0, 0};
    float bad = start_queries(&all, panels, TILE_WIDTH, packed, state);
    for (; all.start < last; all.start += a->block) {
        all.n = last - all.start < a->block ? last - all.start : a->block;
        if (whole < a->value_dim)
            pack_tail(&all, whole, TILE_WIDTH, tail);
        for (int64_t p = 0; p < panels; p++) {
            const int64_t left = count - p * TILE_WIDTH;
            tile_t one = {a, head, first + p * TILE_WIDTH, left < TILE_WIDTH ? left : TILE_WIDTH, all.start, 0};
            const int64_t seen = keys_seen(a, one.first + one.count - 1) - one.start;
            one.n = seen < all.n ? seen : all.n;
            if (one.n > 0)
                bad += TILE(attend_panel)(&one, packed + p * a->dim * TILE_WIDTH, tail, state + p * 2 * TILE_WIDTH,
                                          scores, spare);
        }
    }
    for (int64_t i = 0; i < count; i++) {
        const float sum = state[i / TILE_WIDTH * 2 * TILE_WIDTH + TILE_WIDTH + i % TILE_WIDTH];
        if (sum > 0)
            scale_row(tile_out(&all, i), a->value_dim, 1.0f / sum);
        bad += probe(tile_out(&all, i), a->value_dim);
    }
    return bad;
}

#undef TILE
#undef TILE_TARGET
#undef TILE_BYTES
#undef TILE_ROWS
#undef TILE_LANES
#undef TILE_WIDTH
