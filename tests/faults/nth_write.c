/* Stands before the C library: makes the n-th write to a file fail, come short, be interrupted, or never return.
   NTH_WRITE is "<kind> <n> <anything>"; whenever it changes, counting begins anew. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static char said[256];
static int count;

/* Returns how many bytes may be written: fewer than asked for, or -1 with errno set. */
static ssize_t allowed(int file, size_t size) {
    const char *now = getenv("NTH_WRITE");
    struct stat found;
    char kind[16];
    int nth;
    if (now == NULL || fstat(file, &found) != 0 || !S_ISREG(found.st_mode)) return size;
    if (strncmp(now, said, sizeof said - 1) != 0) {
        strncpy(said, now, sizeof said - 1);
        count = 0;
    }
    if (sscanf(now, "%15s %d", kind, &nth) != 2) return size;
    int number = __sync_add_and_fetch(&count, 1);
    if (strcmp(kind, "SHORT") == 0) return number >= nth && size > 1 ? size / 2 : size;
    if (strcmp(kind, "EINTR") == 0 && number >= nth && number % 3 == 0) { errno = EINTR; return -1; }
    if (number < nth) return size;
    if (strcmp(kind, "HANG") == 0) for (;;) pause();
    if (strcmp(kind, "EIO") == 0) { errno = EIO; return -1; }
    if (strcmp(kind, "ENOSPC") == 0) { errno = ENOSPC; return -1; }
    if (strcmp(kind, "ONCE") == 0 && number == nth) { errno = EIO; return -1; }
    return size;
}
#define TRUE_ONE(name) __typeof__(&name) next = (__typeof__(&name)) dlsym(RTLD_NEXT, #name)
#define CHECKED(asked) ssize_t size_now = allowed(file, asked); if (size_now < 0) return -1

ssize_t write(int file, const void *data, size_t size) { TRUE_ONE(write); CHECKED(size); return next(file, data, size_now); }
ssize_t pwrite(int file, const void *data, size_t size, off_t at) {
    TRUE_ONE(pwrite); CHECKED(size); return next(file, data, size_now, at);
}
ssize_t pwrite64(int file, const void *data, size_t size, off64_t at) {
    TRUE_ONE(pwrite64); CHECKED(size); return next(file, data, size_now, at);
}
static size_t total(const struct iovec *data, int parts) {
    size_t sum = 0;
    for (int part = 0; part < parts; part++) sum += data[part].iov_len;
    return sum;
}
ssize_t writev(int file, const struct iovec *data, int parts) {
    size_t asked = total(data, parts);
    TRUE_ONE(writev); CHECKED(asked);
    if ((size_t) size_now < asked) { size_t one = data[0].iov_len; return write(file, data[0].iov_base, one > 1 ? one / 2 : one); }
    return next(file, data, parts);
}
ssize_t pwritev(int file, const struct iovec *data, int parts, off_t at) {
    size_t asked = total(data, parts);
    TRUE_ONE(pwritev); CHECKED(asked);
    if ((size_t) size_now < asked) return pwrite(file, data[0].iov_base, data[0].iov_len, at);
    return next(file, data, parts, at);
}
ssize_t pwritev64(int file, const struct iovec *data, int parts, off64_t at) {
    size_t asked = total(data, parts);
    TRUE_ONE(pwritev64); CHECKED(asked);
    if ((size_t) size_now < asked) return pwrite64(file, data[0].iov_base, data[0].iov_len, at);
    return next(file, data, parts, at);
}
