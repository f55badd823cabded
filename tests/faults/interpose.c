/* System calls that fail when a test says so: preloaded into a server, whose calls go through the C library.

   The plan is a file that the test has mapped as well, named by FAULT_PLAN. Each call has a slot in it with steps, one
   for each time that it is made: 0 lets it through, an error number has it fail, and -n lets it move n bytes at most.
   With no step left all goes through. Forked children share the plan. See interposing.py, which writes it. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <unistd.h>

#define STEPS 62

enum { ACCEPT, RECV, SEND, SENDFILE, EPOLL_WAIT, POLL, TMPFILE, PWRITE, SLOTS };

struct slot {
    atomic_uint armed;    /* how many steps there are */
    atomic_uint taken;    /* how many were taken; more calls than steps leave it alone */
    int32_t steps[STEPS];
};

static struct slot *plan;

__attribute__((constructor)) static void open_plan(void) {
    const char *path = getenv("FAULT_PLAN");
    int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (fd < 0)
        return;
    plan = mmap(NULL, SLOTS * sizeof(struct slot), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (plan == MAP_FAILED)
        plan = NULL;
    close(fd);
}

/* Take the next step. Returns 0, or -1 with errno set; where the call is to move fewer bytes, lowers `most`. */
static int step(int which, size_t *most) {
    unsigned taken;
    int32_t what;
    if (plan == NULL)
        return 0;
    taken = atomic_load(&plan[which].taken);
    do {
        if (taken >= atomic_load(&plan[which].armed))
            return 0;
        what = plan[which].steps[taken];
    } while (!atomic_compare_exchange_weak(&plan[which].taken, &taken, taken + 1));
    if (what > 0) {
        errno = what;
        return -1;
    }
    if (what < 0 && most != NULL && *most > (size_t)-what)
        *most = (size_t)-what;
    return 0;
}

#define NEXT(result, name, ...)                                     \
    static result (*next)(__VA_ARGS__);                             \
    if (next == NULL)                                               \
        next = (result (*)(__VA_ARGS__))dlsym(RTLD_NEXT, name)

int accept4(int fd, struct sockaddr *address, socklen_t *length, int flags) {
    NEXT(int, "accept4", int, struct sockaddr *, socklen_t *, int);
    return step(ACCEPT, NULL) < 0 ? -1 : next(fd, address, length, flags);
}

ssize_t recv(int fd, void *data, size_t length, int flags) {
    NEXT(ssize_t, "recv", int, void *, size_t, int);
    return step(RECV, &length) < 0 ? -1 : next(fd, data, length, flags);
}

ssize_t send(int fd, const void *data, size_t length, int flags) {
    NEXT(ssize_t, "send", int, const void *, size_t, int);
    return step(SEND, &length) < 0 ? -1 : next(fd, data, length, flags);
}

/* A message that is to be short is sent from the first of its parts that holds something. */
ssize_t sendmsg(int fd, const struct msghdr *message, int flags) {
    size_t most = SIZE_MAX, at;
    NEXT(ssize_t, "sendmsg", int, const struct msghdr *, int);
    if (step(SEND, &most) < 0)
        return -1;
    if (most == SIZE_MAX)
        return next(fd, message, flags);
    for (at = 0; at < message->msg_iovlen; at++)
        if (message->msg_iov[at].iov_len > 0)
            return send(fd, message->msg_iov[at].iov_base,
                        message->msg_iov[at].iov_len < most ? message->msg_iov[at].iov_len : most, flags);
    return 0;
}

ssize_t sendfile64(int out, int in, off64_t *offset, size_t count) {
    NEXT(ssize_t, "sendfile64", int, int, off64_t *, size_t);
    return step(SENDFILE, &count) < 0 ? -1 : next(out, in, offset, count);
}

ssize_t sendfile(int out, int in, off_t *offset, size_t count) {
    return sendfile64(out, in, (off64_t *)offset, count);
}

int epoll_wait(int fd, struct epoll_event *events, int most, int timeout) {
    NEXT(int, "epoll_wait", int, struct epoll_event *, int, int);
    return step(EPOLL_WAIT, NULL) < 0 ? -1 : next(fd, events, most, timeout);
}

int poll(struct pollfd *watched, nfds_t count, int timeout) {
    NEXT(int, "poll", struct pollfd *, nfds_t, int);
    return step(POLL, NULL) < 0 ? -1 : next(watched, count, timeout);
}

/* Of files, only those without a name are asked about: the spool's. */
int open64(const char *path, int flags, ...) {
    va_list more;
    mode_t mode;
    NEXT(int, "open64", const char *, int, ...);
    va_start(more, flags);
    mode = va_arg(more, mode_t);
    va_end(more);
    if ((flags & O_TMPFILE) == O_TMPFILE && step(TMPFILE, NULL) < 0)
        return -1;
    return next(path, flags, mode);
}

int open(const char *path, int flags, ...) {
    va_list more;
    mode_t mode;
    va_start(more, flags);
    mode = va_arg(more, mode_t);
    va_end(more);
    return open64(path, flags, mode);
}

ssize_t pwrite64(int fd, const void *data, size_t length, off64_t offset) {
    NEXT(ssize_t, "pwrite64", int, const void *, size_t, off64_t);
    return step(PWRITE, &length) < 0 ? -1 : next(fd, data, length, offset);
}

ssize_t pwrite(int fd, const void *data, size_t length, off_t offset) {
    return pwrite64(fd, data, length, offset);
}
