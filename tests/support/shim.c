/* What a test can't do to a host: moves the clock that one process sees, and makes its syncs fail. For LD_PRELOAD. */
#define _GNU_SOURCE
#include <errno.h>
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
