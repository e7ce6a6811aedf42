/* What a test can't do to a host: moves the clock that one process sees, and makes its syncs fail. For LD_PRELOAD. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* SHIM_CLOCK: seconds added to the wall clock. */
int clock_gettime(clockid_t clock, struct timespec *time) {
  long result = syscall(SYS_clock_gettime, clock, time);
  const char *moved = getenv("SHIM_CLOCK");
  if (result == 0 && moved != NULL && clock == CLOCK_REALTIME) time->tv_sec += atol(moved);
  return (int)result;
}

/* SHIM_SYNC_FAILS: a file; as long as it is there, every sync fails as a broken disk's does. */
static int sync_with(long call, int file) {
  const char *broken = getenv("SHIM_SYNC_FAILS");
  if (broken != NULL && access(broken, F_OK) == 0) {
    errno = EIO;
    return -1;
  }
  return (int)syscall(call, file);
}
int fdatasync(int file) { return sync_with(SYS_fdatasync, file); }
int fsync(int file) { return sync_with(SYS_fsync, file); }

/* SHIM_READ_ONLY: a file; as long as it is there, the disk can't be written, as one that the kernel has remounted. */
static int read_only(void) {
  const char *mark = getenv("SHIM_READ_ONLY");
  if (mark == NULL || access(mark, F_OK) != 0) return 0;
  errno = EROFS;
  return 1;
}
ssize_t pwrite64(int file, const void *bytes, size_t count, off64_t at) {
  return read_only() ? -1 : syscall(SYS_pwrite64, file, bytes, count, at);
}
ssize_t pwrite(int file, const void *bytes, size_t count, off_t at) { return pwrite64(file, bytes, count, at); }
int ftruncate64(int file, off64_t length) { return read_only() ? -1 : (int)syscall(SYS_ftruncate, file, length); }
int ftruncate(int file, off_t length) { return ftruncate64(file, length); }
static int open_with(const char *path, int flags, mode_t mode) {
  if ((flags & (O_WRONLY | O_RDWR | O_CREAT)) != 0 && path[0] == '/' && path[1] == 't' && read_only()) return -1;
  return (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}
int open64(const char *path, int flags, ...) {
  va_list more;
  va_start(more, flags);
  mode_t mode = (mode_t)va_arg(more, int);
  va_end(more);
  return open_with(path, flags | O_LARGEFILE, mode);
}
int open(const char *path, int flags, ...) {
  va_list more;
  va_start(more, flags);
  mode_t mode = (mode_t)va_arg(more, int);
  va_end(more);
  return open_with(path, flags, mode);
}
