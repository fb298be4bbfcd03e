/* Preloaded into a process, records what it does to the files below POWER_ROOT, in order, in the file POWER_LOG.
 *
 * A record is a struct header, the path relative to the root, and the data: the bytes of a write, or the other path of a
 * rename.  It follows the call that it records, and only if that succeeded.  Shared memory ("-shm") is left out: it does
 * not outlive the machine's power, and is never synced.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum { CREATED = 'c', WRITTEN = 'w', CUT = 't', SYNCED = 's', RENAMED = 'r', UNLINKED = 'u' };

struct header {
    uint64_t offset;
    uint64_t size;
    uint32_t path_bytes;
    uint32_t kind;
};

static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;
static const char *root;
static size_t root_bytes;
static int log_file = -1;

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

__attribute__((constructor)) static void begin(void)
{
    root = getenv("POWER_ROOT");
    const char *path = getenv("POWER_LOG");
    if (!root || !path) abort();
    root_bytes = strlen(root);
    log_file = REAL(open)(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (log_file < 0) abort();
}

/* The path below the root, "" for the root itself, NULL for what is elsewhere, deleted, or shared memory. */
static const char *below(const char *path)
{
    size_t size = strlen(path);
    if (strncmp(path, root, root_bytes) || (path[root_bytes] && path[root_bytes] != '/')) return NULL;
    if (size > 4 && !strcmp(path + size - 4, "-shm")) return NULL;
    if (size > 10 && !strcmp(path + size - 10, " (deleted)")) return NULL;
    return path + root_bytes + (path[root_bytes] == '/');
}

static const char *path_of(int file, char *room)
{
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t size = readlink(link, room, PATH_MAX - 1);
    if (size < 0) return NULL;
    room[size] = 0;
    return below(room);
}

static void record(int kind, const char *path, uint64_t offset, const struct iovec *data, int parts, uint64_t size)
{
    int before = errno;
    struct header head = {offset, size, (uint32_t)strlen(path), (uint32_t)kind};
    ssize_t (*real)(int, const void *, size_t) = REAL(write);
    pthread_mutex_lock(&turn);
    if (real(log_file, &head, sizeof head) != sizeof head) abort();
    if (real(log_file, path, head.path_bytes) != (ssize_t)head.path_bytes) abort();
    for (int part = 0; part < parts && size; part++) {
        size_t some = data[part].iov_len < size ? data[part].iov_len : size;
        if (real(log_file, data[part].iov_base, some) != (ssize_t)some) abort();
        size -= some;
    }
    pthread_mutex_unlock(&turn);
    errno = before;
}

static ssize_t written(int file, const struct iovec *data, int parts, off_t offset, ssize_t done)
{
    char room[PATH_MAX];
    const char *path = done > 0 ? path_of(file, room) : NULL;
    if (path) record(WRITTEN, path, (uint64_t)offset, data, parts, (uint64_t)done);
    return done;
}

/* Where a write that gives no offset went to: it ended where the file now stands. */
static off_t start(int file, ssize_t done)
{
    int before = errno;
    off_t end = lseek(file, 0, SEEK_CUR);
    errno = before;
    return end - done;
}

ssize_t write(int file, const void *data, size_t size)
{
    struct iovec whole = {(void *)data, size};
    ssize_t done = REAL(write)(file, data, size);
    return written(file, &whole, 1, start(file, done), done);
}

ssize_t writev(int file, const struct iovec *data, int parts)
{
    ssize_t done = REAL(writev)(file, data, parts);
    return written(file, data, parts, start(file, done), done);
}

ssize_t pwrite(int file, const void *data, size_t size, off_t offset)
{
    struct iovec whole = {(void *)data, size};
    return written(file, &whole, 1, offset, REAL(pwrite)(file, data, size, offset));
}

ssize_t pwrite64(int file, const void *data, size_t size, off64_t offset)
{
    struct iovec whole = {(void *)data, size};
    return written(file, &whole, 1, offset, REAL(pwrite64)(file, data, size, offset));
}

static int of_file(int kind, int file, uint64_t size, int failed)
{
    char room[PATH_MAX];
    const char *path = failed ? NULL : path_of(file, room);
    if (path) record(kind, path, size, NULL, 0, 0);
    return failed;
}

int ftruncate(int file, off_t size) { return of_file(CUT, file, (uint64_t)size, REAL(ftruncate)(file, size)); }
int ftruncate64(int file, off64_t size) { return of_file(CUT, file, (uint64_t)size, REAL(ftruncate64)(file, size)); }
int fsync(int file) { return of_file(SYNCED, file, 0, REAL(fsync)(file)); }
int fdatasync(int file) { return of_file(SYNCED, file, 0, REAL(fdatasync)(file)); }

static int opened(int file, int flags, int existed)
{
    if (file >= 0 && (flags & O_CREAT) && !existed) of_file(CREATED, file, 0, 0);
    if (file >= 0 && (flags & O_TRUNC) && existed) of_file(CUT, file, 0, 0);
    return file;
}

static int exists(int folder, const char *path)
{
    int before = errno;
    int answer = !faccessat(folder, path, F_OK, 0);
    errno = before;
    return answer;
}

#define MODE                                          \
    mode_t mode = 0;                                  \
    if (flags & (O_CREAT | __O_TMPFILE)) {            \
        va_list rest;                                 \
        va_start(rest, flags);                        \
        mode = va_arg(rest, mode_t);                  \
        va_end(rest);                                 \
    }

int open(const char *path, int flags, ...)
{
    MODE
    int existed = exists(AT_FDCWD, path);
    return opened(REAL(open)(path, flags, mode), flags, existed);
}

int open64(const char *path, int flags, ...)
{
    MODE
    int existed = exists(AT_FDCWD, path);
    return opened(REAL(open64)(path, flags, mode), flags, existed);
}

int openat(int folder, const char *path, int flags, ...)
{
    MODE
    int existed = exists(folder, path);
    return opened(REAL(openat)(folder, path, flags, mode), flags, existed);
}

int openat64(int folder, const char *path, int flags, ...)
{
    MODE
    int existed = exists(folder, path);
    return opened(REAL(openat64)(folder, path, flags, mode), flags, existed);
}

int rename(const char *from, const char *to)
{
    int failed = REAL(rename)(from, to);
    const char *source = failed ? NULL : below(from), *target = failed ? NULL : below(to);
    if (source && target) {
        struct iovec name = {(void *)target, strlen(target)};
        record(RENAMED, source, 0, &name, 1, name.iov_len);
    }
    return failed;
}

int unlink(const char *path)
{
    int failed = REAL(unlink)(path);
    const char *name = failed ? NULL : below(path);
    if (name) record(UNLINKED, name, 0, NULL, 0, 0);
    return failed;
}
