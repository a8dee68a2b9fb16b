/* A wall clock that a test sets, for a process and all of its children (LD_PRELOAD). The monotonic clock is untouched.
 *
 * CLOCK_FILE, given at compile time, holds two 64-bit integers in the host's order: by how many nanoseconds the clock
 * is wrong, and whether the kernel is to say that something keeps it right. It is mapped and shared: a jump is one
 * write, seen by every process at once. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timex.h>
#include <time.h>
#include <unistd.h>

#define BILLION 1000000000LL

static const volatile int64_t none[2] = {0, 1};
static const volatile int64_t *set = none;

__attribute__((constructor)) static void attach(void)
{
    int fd = open(CLOCK_FILE, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    void *mapped = mmap(NULL, sizeof none, PROT_READ, MAP_SHARED, fd, 0);
    if (mapped != MAP_FAILED)
        set = mapped;
    close(fd);
}

int clock_gettime(clockid_t id, struct timespec *at)
{
    if (syscall(SYS_clock_gettime, id, at) != 0)
        return -1;
    if (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE) {
        int64_t shown = at->tv_sec * BILLION + at->tv_nsec + set[0];
        at->tv_sec = shown / BILLION;
        at->tv_nsec = shown % BILLION;
    }
    return 0;
}

int gettimeofday(struct timeval *restrict at, void *restrict zone)
{
    struct timespec shown;
    (void)zone;
    if (clock_gettime(CLOCK_REALTIME, &shown) != 0)
        return -1;
    at->tv_sec = shown.tv_sec;
    at->tv_usec = shown.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *at)
{
    struct timespec shown;
    clock_gettime(CLOCK_REALTIME, &shown);
    if (at != NULL)
        *at = shown.tv_sec;
    return shown.tv_sec;
}

int adjtimex(struct timex *told)
{
    if (told->modes != 0) { /* a test never sets the machine's own clock */
        errno = EPERM;
        return -1;
    }
    told->status = set[1] ? 0 : STA_UNSYNC;
    return set[1] ? TIME_OK : TIME_ERROR;
}
