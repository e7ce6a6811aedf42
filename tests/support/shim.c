/* What a test can't do to a host: moves the clock that one process sees, makes its syncs fail or hang, fills its disk,
   and keeps its threads busy. For LD_PRELOAD. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* SHIM_CLOCK_FILE: a file with a `long`: seconds that are added to the wall clock, and that can change at any time. */
static const volatile long *moved_by;
__attribute__((constructor)) static void map_clock(void) {
  const char *name = getenv("SHIM_CLOCK_FILE");
  int file = name == NULL ? -1 : (int)syscall(SYS_openat, AT_FDCWD, name, O_RDONLY | O_CLOEXEC, 0);
  if (file < 0) return;
  void *page = mmap(NULL, sizeof(long), PROT_READ, MAP_SHARED, file, 0);
  if (page != MAP_FAILED) moved_by = page;
  close(file);
}

/* SHIM_CLOCK: seconds added to the wall clock. SHIM_CLOCK_WHILE: a file; the seconds are added only as long as it is
   there. */
int clock_gettime(clockid_t clock, struct timespec *time) {
  long result = syscall(SYS_clock_gettime, clock, time);
  const char *moved = getenv("SHIM_CLOCK"), *mark = getenv("SHIM_CLOCK_WHILE");
  int number = errno;
  if (result == 0 && moved != NULL && clock == CLOCK_REALTIME && (mark == NULL || access(mark, F_OK) == 0))
    time->tv_sec += atol(moved);
  if (result == 0 && moved_by != NULL && clock == CLOCK_REALTIME) time->tv_sec += *moved_by;
  errno = number;
  return (int)result;
}

/* SHIM_STUCK: the beginning of file names; as long as the file with the name of a call at its end is there, each such call
   (fsync, epoll_wait, accept4, recv) does not return, and keeps its thread. */
static int stuck(const char *call) {
  const char *begin = getenv("SHIM_STUCK");
  char name[4096];
  if (begin == NULL) return 0;
  snprintf(name, sizeof name, "%s%s", begin, call);
  return access(name, F_OK) == 0;
}
int epoll_wait(int queue, struct epoll_event *events, int most, int timeout) {
  long count = syscall(SYS_epoll_pwait, queue, events, most, timeout, NULL, 8);
  int number = errno;
  while (stuck("epoll_wait")) usleep(1000);
  errno = number;
  return (int)count;
}
int accept4(int listener, struct sockaddr *restrict peer, socklen_t *restrict length, int flags) {
  while (stuck("accept4")) usleep(1000);
  return (int)syscall(SYS_accept4, listener, peer, length, flags);
}
ssize_t recv(int socket, void *bytes, size_t count, int flags) {
  while (stuck("recv")) usleep(1000);
  return syscall(SYS_recvfrom, socket, bytes, count, flags, NULL, NULL);
}

/* SHIM_SYNC_FAILS: a file; as long as it is there, every sync fails as a broken disk's does. */
static int sync_with(long call, int file) {
  const char *broken = getenv("SHIM_SYNC_FAILS");
  while (stuck("fsync")) usleep(1000);
  if (broken != NULL && access(broken, F_OK) == 0) {
    errno = EIO;
    return -1;
  }
  return (int)syscall(call, file);
}
int fdatasync(int file) { return sync_with(SYS_fdatasync, file); }
int fsync(int file) { return sync_with(SYS_fsync, file); }

/* SHIM_READ_ONLY: a file; as long as it is there, the disk can't be written, as one that the kernel has remounted.
   SHIM_FULL: a file; as long as it is there, the disk is full, so that no file can grow. */
static int marked(const char *variable, int number) {
  const char *mark = getenv(variable);
  if (mark == NULL || access(mark, F_OK) != 0) return 0;
  errno = number;
  return 1;
}
static int read_only(void) { return marked("SHIM_READ_ONLY", EROFS); }
static int full(int file, size_t count, off64_t at) {
  struct stat state;
  /* SQLite shortens its -shm file and lengthens it again by single bytes, which reuses the freed space. */
  if (count == 1 || fstat(file, &state) != 0) return 0;
  return at + (off64_t)count > state.st_size && marked("SHIM_FULL", ENOSPC);
}
ssize_t pwrite64(int file, const void *bytes, size_t count, off64_t at) {
  return read_only() || full(file, count, at) ? -1 : syscall(SYS_pwrite64, file, bytes, count, at);
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
