# Write lines, for people and log collectors, to a file that may take nothing. The wait has a limit.
from libc.stdint cimport int64_t

from halfsync.native.pipes cimport block_pipe, unblock_pipe

cdef extern from *:
    """
    #include <errno.h>
    #include <fcntl.h>
    #include <limits.h>
    #include <poll.h>
    #include <stdint.h>
    #include <stdio.h>
    #include <sys/stat.h>
    #include <sys/uio.h>
    #include <time.h>
    #include <unistd.h>

    static void hs_set_errno(int error) { errno = error; }

    /* Wait until something can be written, or a write fails at once, at most until `until_ns` (monotonic). */
    static int hs_await_room(int fd, int64_t until_ns) {
        struct pollfd one = {fd, POLLOUT, 0};
        struct timespec now;
        int64_t left;
        clock_gettime(CLOCK_MONOTONIC, &now);
        left = (until_ns - (int64_t)now.tv_sec * 1000000000 - now.tv_nsec + 999999) / 1000000;
        return poll(&one, 1, left < 0 ? 0 : left > INT_MAX ? INT_MAX : (int)left) != 0;
    }

    /* Return whether a file is on a disk. poll(2) says nothing about such a file: it takes a write, or refuses it. */
    static int hs_is_on_disk(int fd) {
        struct stat found;
        return fstat(fd, &found) == 0 && (S_ISREG(found.st_mode) || S_ISBLK(found.st_mode));
    }

    /* How a file is written to without blocking. For a pipe or a socket one call can ask for that; for a terminal, or
       with an older kernel, it cannot. In that case the file is opened once more, so that the flag does not change for
       other processes that have it open. */
    struct hs_way {
        int can_ask;
        int other; /* the same file, opened once more so that it does not block; -1: it is not open */
    };

    static void hs_open_other(int fd, struct hs_way *way) {
        char path[32];
        way->can_ask = 0;
        snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        way->other = open(path, O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    }

    /* Write as much as there is room for now. */
    static ssize_t hs_write_now(int fd, const char *data, size_t length, struct hs_way *way) {
        struct iovec one = {(void *)data, length};
        struct pollfd room = {fd, POLLOUT, 0};
        if (way->can_ask) {
            ssize_t written = pwritev2(fd, &one, 1, -1, RWF_NOWAIT);
            if (written >= 0 || (errno != EOPNOTSUPP && errno != ENOSYS && errno != EPERM && errno != EINVAL))
                return written;
            hs_open_other(fd, way);
        }
        if (way->other >= 0)
            return write(way->other, data, length);
        if (poll(&room, 1, 0) == 0) {
            errno = EAGAIN;
            return -1;
        }
        return write(fd, data, length < PIPE_BUF ? length : PIPE_BUF); /* if a pipe has room, it has this much */
    }

    /* Write, and wait for room at most `patience_ns` in all. Returns how many bytes were taken. If not all were, errno
       has the reason: EAGAIN if there was no room in time. */
    static size_t hs_write_within(int fd, const char *data, size_t length, int64_t patience_ns) {
        struct timespec now;
        int64_t until;
        size_t done = 0;
        int on_disk = hs_is_on_disk(fd), error;
        struct hs_way way = {1, -1};
        clock_gettime(CLOCK_MONOTONIC, &now);
        until = (int64_t)now.tv_sec * 1000000000 + now.tv_nsec + patience_ns;
        while (done < length) {
            ssize_t written = on_disk ? write(fd, data + done, length - done)
                                      : hs_write_now(fd, data + done, length - done, &way);
            if (written > 0) {
                done += (size_t)written;
            } else if (written == 0) {
                errno = EIO;
                break;
            } else if (errno == EAGAIN) {
                if (on_disk || !hs_await_room(fd, until)) {
                    errno = EAGAIN;
                    break;
                }
            } else if (errno != EINTR) {
                break;
            }
        }
        if (way.other >= 0) {
            error = errno;
            close(way.other);
            errno = error;
        }
        return done;
    }
    """
    size_t write_and_wait "hs_write_within" (
        int fd, const char *data, size_t length, int64_t patience_ns) noexcept nogil
    void set_errno "hs_set_errno" (int error) noexcept nogil
    bint await_room "hs_await_room" (int fd, int64_t until_ns) noexcept nogil
    bint is_on_disk "hs_is_on_disk" (int fd) noexcept nogil


cdef inline size_t write_within(int fd, const char *data, size_t length, int64_t patience_ns) noexcept nogil:
    """Write, and wait for room at most `patience_ns`. Returns how many bytes were taken; errno: why not all were."""
    cdef bint blocked = block_pipe()
    cdef size_t done = write_and_wait(fd, data, length, patience_ns)
    if blocked:
        unblock_pipe(done < length)
    return done
