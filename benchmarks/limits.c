/* What this machine can do at the most: multiply-adds and bytes read by one core, and threads started; for limits.py. */
#include <pthread.h>
#include <stdint.h>

#if defined(__AVX512F__)
#define BYTES 64
#elif defined(__AVX__)
#define BYTES 32
#else
#define BYTES 16
#endif
enum { LANES = BYTES / 4, CHAINS = 12 }; /* chains of multiply-adds that depend on nothing but themselves */

typedef float floats_t __attribute__((vector_size(BYTES), aligned(4), may_alias));
typedef int32_t words_t __attribute__((vector_size(BYTES), aligned(4), may_alias));

/* Multiply and add ``rounds`` times in each chain; returns the floating-point operations done. */
int64_t multiply_adds(int64_t rounds, float factor, float *kept)
{
    floats_t chain[CHAINS], sum = {0};
    for (int c = 0; c < CHAINS; c++)
        chain[c] = sum + (float)c;
    for (int64_t i = 0; i < rounds; i++)
#pragma GCC unroll 12
        for (int c = 0; c < CHAINS; c++)
            chain[c] = chain[c] * factor + factor;
    for (int c = 0; c < CHAINS; c++)
        sum += chain[c];
    *kept = sum[0];
    return 2 * rounds * CHAINS * LANES;
}

/* Read ``n`` bytes, a multiple of 8 registers, ``rounds`` times. */
void read_bytes(const char *from, int64_t n, int64_t rounds, int32_t *kept)
{
    words_t all[8] = {{0}};
    for (int64_t r = 0; r < rounds; r++) {
        for (int64_t i = 0; i < n; i += 8 * BYTES)
#pragma GCC unroll 8
            for (int k = 0; k < 8; k++)
                all[k] ^= *(const words_t *)(from + i + k * BYTES);
        __asm__ volatile("" ::: "memory"); /* the next round reads anew */
    }
    for (int k = 1; k < 8; k++)
        all[0] ^= all[k];
    *kept = all[0][0];
}

static void *nothing(void *unused)
{
    return unused;
}

/* Start a thread that does nothing and wait for its end, ``rounds`` times; returns how many could not be started. */
int64_t start_threads(int64_t rounds)
{
    int64_t failed = 0;
    for (int64_t r = 0; r < rounds; r++) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, nothing, NULL) != 0)
            failed++;
        else
            pthread_join(thread, NULL);
    }
    return failed;
}
