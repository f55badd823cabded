# Native functions only, for other extensions: see the .pxd. Python code finds nothing to call here.
"""Send lines to a syslog, in the form that common ones read.

To a unix socket in RFC 3164 as the C library writes it, which journald, rsyslog and syslog-ng read: without the name of
the machine. By UDP in RFC 5424. A unix socket whose syslog was restarted is connected to again. Nothing here takes the
GIL, and nothing waits but in poll(2).
"""
from libc.errno cimport EAGAIN, ECONNREFUSED, ECONNRESET, EINTR, EMSGSIZE, ENOBUFS, ENOTCONN, EPIPE, errno
from libc.string cimport memchr, memrchr, memset, strlen
from posix.uio cimport iovec

from halfsync.native.sync cimport monotonic_ns
from halfsync.native.writing cimport await_room, set_errno

cdef extern from *:
    """
    #include <stdio.h>
    #include <string.h>
    #include <sys/socket.h>
    #include <sys/un.h>
    #include <time.h>
    #include <unistd.h>

    /* Write what comes before a line: priority, time, machine, program and process. Independent of the locale. */
    static int hs_syslog_head(char *out, size_t room, int is_local, int priority, const char *host, int pid) {
        static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
        struct timespec now;
        struct tm at;
        clock_gettime(CLOCK_REALTIME, &now);
        if (is_local) {
            localtime_r(&now.tv_sec, &at);
            return snprintf(out, room, "<%d>%.3s %2d %02d:%02d:%02d halfsync[%d]: ", priority,
                months + 3 * (at.tm_mon % 12), at.tm_mday, at.tm_hour, at.tm_min, at.tm_sec, pid);
        }
        gmtime_r(&now.tv_sec, &at);
        return snprintf(out, room, "<%d>1 %04d-%02d-%02dT%02d:%02d:%02d.%03dZ %s halfsync %d - - ", priority,
            1900 + at.tm_year, at.tm_mon + 1, at.tm_mday, at.tm_hour, at.tm_min, at.tm_sec,
            (int)(now.tv_nsec / 1000000), host, pid);
    }

    static int hs_syslog_connect(int fd, const char *path) {
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        if (strlen(path) >= sizeof(address.sun_path))
            return -1;
        strcpy(address.sun_path, path);
        return connect(fd, (struct sockaddr *)&address, sizeof(address));
    }

    static ssize_t hs_syslog_send(int fd, struct iovec *vectors, int count) {
        struct msghdr message = {.msg_iov = vectors, .msg_iovlen = (size_t)count};
        return sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    }

    /* Return and clear the error that the network has reported for a datagram sent before. */
    static int hs_syslog_error(int fd) {
        int error = 0;
        socklen_t length = sizeof(error);
        getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length);
        return error;
    }
    """
    int write_head "hs_syslog_head" (
        char *out, size_t room, bint is_local, int priority, const char *host, int pid) nogil
    int connect_again "hs_syslog_connect" (int fd, const char *path) nogil
    ssize_t send_datagram "hs_syslog_send" (int fd, iovec *vectors, int count) nogil
    int reported_error "hs_syslog_error" (int fd) nogil

cdef enum:
    HEAD_BYTES = HOST_BYTES + 128
    SEVERITY = 6  # informational


cdef void syslog_init(
    Syslog *syslog, bint is_local, int facility, const char *path, const char *host
) noexcept nogil:
    """Initialize the record. path, host: kept by the caller, and copied."""
    cdef size_t at
    memset(syslog, 0, sizeof(Syslog))
    syslog.is_local = is_local
    syslog.priority = facility * 8 + SEVERITY
    syslog.path = path
    for at in range(min(strlen(host), <size_t> HOST_BYTES - 1)):
        syslog.host[at] = host[at] if 33 <= host[at] <= 126 else c'-'
    if syslog.host[0] == 0:
        syslog.host[0] = c'-'


cdef bint may_go_on(const Syslog *syslog, int fd, int error, bint again, long long *lost) noexcept nogil:
    """Deal with an error of a send. Return whether the line may be sent again. again: it was sent again already."""
    if error == EINTR:
        return True
    if error not in (ECONNREFUSED, ECONNRESET, ENOTCONN, EPIPE) or again:
        return False
    if syslog.is_local:
        return connect_again(fd, syslog.path) == 0
    lost[0] += 1  # the error is about the datagram before this one
    return True


cdef size_t send_lines(
    const Syslog *syslog, int fd, int pid, const char *lines, size_t length, int64_t until, long long *lost
) noexcept nogil:
    """Send lines until there is no room by `until`, or another error. Returns as syslog_write."""
    cdef char head[HEAD_BYTES]
    cdef iovec vectors[2]
    cdef size_t done = 0
    cdef size_t size
    cdef bint again = False
    vectors[0].iov_base = head
    vectors[0].iov_len = write_head(head, HEAD_BYTES, syslog.is_local, syslog.priority, syslog.host, pid)
    while done < length:
        size = <const char *> memchr(lines + done, c"\n", length - done) - (lines + done)
        vectors[1].iov_base = <char *> lines + done
        vectors[1].iov_len = size
        if send_datagram(fd, vectors, 2) >= 0:
            done += size + 1
            again = False
        elif errno == EAGAIN:
            if not await_room(fd, until):
                set_errno(EAGAIN)
                break
        elif errno == EMSGSIZE or errno == ENOBUFS:
            lost[0] += 1
            done += size + 1
        elif may_go_on(syslog, fd, errno, again, lost):
            again = errno != EINTR
        else:
            break
    return done


cdef size_t syslog_write(
    const Syslog *syslog, int fd, int pid, const char *lines, size_t length, int64_t patience_ns, long long *lost
) noexcept nogil:
    """Send whole lines. See the .pxd."""
    cdef size_t done = send_lines(syslog, fd, pid, lines, length, monotonic_ns() + patience_ns, lost)
    cdef const char *before
    cdef int error
    if done == length and not syslog.is_local:
        error = reported_error(fd)  # of the last line, if its host has answered already
        if error != 0:
            before = <const char *> memrchr(lines, c"\n", length - 1)
            done = 0 if before == NULL else before + 1 - lines
            set_errno(error)
    return done
