# Write to a pipe or a socket that may have lost its reader, without SIGPIPE: an application may have set that signal
# to its default, which ends the process. Only pipes and sendfile need this, since send has MSG_NOSIGNAL.
#
# The signal is blocked in the calling thread for the call, and a signal that the call has raised is taken back. It is
# not blocked permanently, since programs that the application starts would inherit that. Threads that never run the
# application have all signals blocked (start_thread), and need none of this.


cdef extern from * nogil:
    """
    #include <errno.h>
    #include <pthread.h>
    #include <signal.h>
    #include <time.h>
    #include <unistd.h>
    /* Block SIGPIPE. Returns 1 if it was not blocked, so that the caller must call hs_unblock_pipe. */
    static inline int hs_block_pipe(void) {
        sigset_t pipe, before;
        sigemptyset(&pipe);
        sigaddset(&pipe, SIGPIPE);
        return pthread_sigmask(SIG_BLOCK, &pipe, &before) == 0 && !sigismember(&before, SIGPIPE);
    }
    /* Unblock SIGPIPE. raised: it may be pending for this thread, and is taken back first. Keeps errno.
       A call that moved less than was asked for may have raised it too. */
    static inline void hs_unblock_pipe(int raised) {
        const struct timespec at_once = {0, 0};
        sigset_t pipe;
        int error = errno;
        sigemptyset(&pipe);
        sigaddset(&pipe, SIGPIPE);
        while (raised && sigtimedwait(&pipe, NULL, &at_once) < 0 && errno == EINTR);
        pthread_sigmask(SIG_UNBLOCK, &pipe, NULL);
        errno = error;
    }
    static inline ssize_t hs_quiet_write(int fd, const void *data, size_t length) {
        int blocked = hs_block_pipe();
        ssize_t result = write(fd, data, length);
        if (blocked) hs_unblock_pipe(result != (ssize_t)length);
        return result;
    }
    /* Return whether SIGPIPE is blocked in this thread, or ignored. */
    static inline int hs_pipe_is_quiet(void) {
        sigset_t now;
        struct sigaction action;
        pthread_sigmask(SIG_BLOCK, NULL, &now);
        return sigismember(&now, SIGPIPE) || (sigaction(SIGPIPE, NULL, &action) == 0 && action.sa_handler == SIG_IGN);
    }
    """
    bint block_pipe "hs_block_pipe" ()
    void unblock_pipe "hs_unblock_pipe" (bint raised)
    bint pipe_is_quiet "hs_pipe_is_quiet" ()
    # Like write(2). Without a reader it fails with EPIPE, and raises no signal.
    ssize_t quiet_write "hs_quiet_write" (int fd, const void *data, size_t length)
