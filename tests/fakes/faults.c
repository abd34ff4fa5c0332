// Makes chosen reads below a folder fail with a chosen error: preloaded into a
// process, it stands before the C library, also for TensorStore.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>
#include <dirent.h>

static char folder[4096];
static int error_number;
static long first, last;
static atomic_long count;

void faults_set(const char *path, int number, long from, long to) {
  strncpy(folder, path, sizeof folder - 1);
  error_number = number; first = from; last = to; count = 0;
}
long faults_count(void) { return count; }

static int fails(const char *path) {
  if (!folder[0] || !path || strncmp(path, folder, strlen(folder))) return 0;
  long n = count++;
  if (n < first || n >= last) return 0;
  errno = error_number;
  return 1;
}
static int fails_fd(int fd) {
  if (!folder[0]) return 0;
  char link[64], path[4096];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t n = readlink(link, path, sizeof path - 1);
  if (n < 0) return 0;
  path[n] = 0;
  return fails(path);
}
#define NEXT(name) static __typeof__(&name) next; if (!next) next = (__typeof__(&name))dlsym(RTLD_NEXT, #name)
#define OPEN(name) int name(const char *path, int flags, ...) { \
  NEXT(name); va_list a; va_start(a, flags); mode_t m = va_arg(a, int); va_end(a); \
  return !(flags & (O_WRONLY | O_RDWR)) && fails(path) ? -1 : next(path, flags, m); }
OPEN(open) OPEN(open64)
#define OPENAT(name) int name(int d, const char *path, int flags, ...) { \
  NEXT(name); va_list a; va_start(a, flags); mode_t m = va_arg(a, int); va_end(a); \
  return !(flags & (O_WRONLY | O_RDWR)) && fails(path) ? -1 : next(d, path, flags, m); }
OPENAT(openat) OPENAT(openat64)
ssize_t read(int fd, void *b, size_t n) { NEXT(read); return fails_fd(fd) ? -1 : next(fd, b, n); }
ssize_t pread(int fd, void *b, size_t n, off_t o) { NEXT(pread); return fails_fd(fd) ? -1 : next(fd, b, n, o); }
ssize_t pread64(int fd, void *b, size_t n, off64_t o) { NEXT(pread64); return fails_fd(fd) ? -1 : next(fd, b, n, o); }
ssize_t readv(int fd, const struct iovec *v, int n) { NEXT(readv); return fails_fd(fd) ? -1 : next(fd, v, n); }
ssize_t preadv(int fd, const struct iovec *v, int n, off_t o) { NEXT(preadv); return fails_fd(fd) ? -1 : next(fd, v, n, o); }
ssize_t preadv64(int fd, const struct iovec *v, int n, off64_t o) { NEXT(preadv64); return fails_fd(fd) ? -1 : next(fd, v, n, o); }
int stat(const char *p, struct stat *s) { NEXT(stat); return fails(p) ? -1 : next(p, s); }
int stat64(const char *p, struct stat64 *s) { NEXT(stat64); return fails(p) ? -1 : next(p, s); }
int lstat(const char *p, struct stat *s) { NEXT(lstat); return fails(p) ? -1 : next(p, s); }
int lstat64(const char *p, struct stat64 *s) { NEXT(lstat64); return fails(p) ? -1 : next(p, s); }
int fstatat(int d, const char *p, struct stat *s, int f) { NEXT(fstatat); return fails(p) ? -1 : next(d, p, s, f); }
int fstatat64(int d, const char *p, struct stat64 *s, int f) { NEXT(fstatat64); return fails(p) ? -1 : next(d, p, s, f); }
int statx(int d, const char *restrict p, int f, unsigned m, struct statx *restrict s) { NEXT(statx); return fails(p) ? -1 : next(d, p, f, m, s); }
DIR *opendir(const char *p) { NEXT(opendir); return fails(p) ? NULL : next(p); }
