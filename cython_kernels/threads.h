/* A few threads for one call, where POSIX threads are; elsewhere the caller does all the work. */
#ifndef AGENTMEM_THREADS_H
#define AGENTMEM_THREADS_H

#include <stdint.h>

enum { MOST_THREADS = 64 };

#if defined(_WIN32)
static void run_threads(void *(*worker)(void *), void *shared, int64_t threads)
{
    (void)threads;
    worker(shared);
}
#else
#include <pthread.h>

/* Run ``worker`` in the caller and in up to ``threads`` - 1 threads beside it; a thread that cannot start is done
   without: the workers share what there is to do. */
static void run_threads(void *(*worker)(void *), void *shared, int64_t threads)
{
    pthread_t started[MOST_THREADS];
    int64_t n = 0;
    while (n + 1 < threads && n < MOST_THREADS && pthread_create(&started[n], NULL, worker, shared) == 0)
        n++;
    worker(shared);
    while (n > 0)
        pthread_join(started[--n], NULL);
}
#endif

#endif
