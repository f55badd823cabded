/* What a fork makes of the server's signals, and which processes are copies.

   Included by native/forks.pyx alone, which has the essay. Signals that the server understands are caught by a handler
   of its own, of which Python's table knows nothing: a child of the application's finds there what the application
   left, and a handler that it has set is told from ours by its address. */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <unistd.h>

enum { HS_COUNTED_MOST = 4096 };  /* that wait at one time: a flood loses the oldest */
enum { HS_FREE, HS_DROPPED, HS_NOTED, HS_COUNTED };  /* what becomes of a signal; FREE: it is not the server's */

static unsigned int hs_copies;             /* forks of others on the way from the program's start to this process */
static __thread int hs_own_fork;           /* the calling thread is about to fork for the server */
static __thread sigset_t hs_mask_before;   /* of the calling thread, while it forks */
static pid_t hs_process;                   /* that the handler works for */
static sigset_t hs_caught;
static struct sigaction hs_before[NSIG];   /* of those that are caught: the default, or the application's own */
static atomic_int hs_kinds[NSIG];
static atomic_uint hs_waiting[NSIG];       /* 1: one that is noted waits */
static atomic_uint hs_places[NSIG];        /* in which order those came */
static atomic_uint hs_place;
static atomic_uchar hs_counted[HS_COUNTED_MOST];  /* a ring of those that are counted, in order; 0: not there yet */
static atomic_uint hs_counted_end;
static unsigned int hs_counted_begin;      /* for the thread that takes them */
static atomic_int hs_tell_fd = -1;

/* Note the signal, and write its number where that is told. Async-signal-safe. */
static void hs_on_signal(int number) {
    int before = errno;
    int fd = atomic_load(&hs_tell_fd);
    int kind = atomic_load(&hs_kinds[number]);
    unsigned char byte = (unsigned char)number;
    if (getpid() != hs_process) {  /* a copy that no atfork handler saw, by vfork(2) or clone(2): it has the default */
        signal(number, SIG_DFL);
        raise(number);  /* once this returns */
    } else if (kind == HS_NOTED || kind == HS_COUNTED) {
        if (kind == HS_COUNTED)
            atomic_store(&hs_counted[atomic_fetch_add(&hs_counted_end, 1) % HS_COUNTED_MOST], byte);
        else if (!atomic_load(&hs_waiting[number])) {
            atomic_store(&hs_places[number], atomic_fetch_add(&hs_place, 1));
            atomic_store(&hs_waiting[number], 1);
        }
        if (fd >= 0 && write(fd, &byte, 1) < 0) {}  /* full: whoever reads there wakes all the same */
    }
    errno = before;
}

static int hs_is_caught(int number) {
    struct sigaction now;
    return sigaction(number, NULL, &now) == 0 && now.sa_handler == hs_on_signal;
}

/* Catch a signal from now on, and forget those that wait. Returns what became of it before, or -errno. */
static int hs_catch(int number, int kind) {
    struct sigaction action = {.sa_handler = hs_on_signal, .sa_flags = SA_RESTART | SA_ONSTACK};
    int before = hs_is_caught(number) ? atomic_load(&hs_kinds[number]) : HS_FREE;
    sigemptyset(&action.sa_mask);
    hs_process = getpid();
    atomic_store(&hs_kinds[number], kind);
    atomic_store(&hs_waiting[number], 0);
    if (before != HS_FREE) return before;
    if (sigaction(number, &action, &hs_before[number]) < 0) return -errno;
    sigaddset(&hs_caught, number);
    return HS_FREE;
}

/* Let a signal mean what it did before it was caught, if it is still. */
static void hs_release(int number) {
    if (hs_is_caught(number)) sigaction(number, &hs_before[number], NULL);
    sigdelset(&hs_caught, number);
    atomic_store(&hs_kinds[number], HS_FREE);
    atomic_store(&hs_waiting[number], 0);
}

/* Return the number of a signal that came, and take it: of those that are counted first, then the oldest. 0: none. */
static int hs_take(void) {
    int number, found = 0;
    unsigned int end = atomic_load(&hs_counted_end);
    if (end - hs_counted_begin > HS_COUNTED_MOST) hs_counted_begin = end - HS_COUNTED_MOST;
    if (hs_counted_begin != end) {
        found = atomic_exchange(&hs_counted[hs_counted_begin % HS_COUNTED_MOST], 0);
        if (found) {
            hs_counted_begin++;
            return found;
        }  /* else its handler is about to put it there, and then wakes */
    }
    for (number = 1; number < NSIG; number++) {
        if (!atomic_load(&hs_waiting[number])) continue;
        if (!found || (int)(atomic_load(&hs_places[number]) - atomic_load(&hs_places[found])) < 0) found = number;
    }
    if (found) atomic_store(&hs_waiting[found], 0);
    return found;
}

/* No signal may come to the child before it is known whose it is: its handler would tell the parent. */
static void hs_before_fork(void) {
    pthread_sigmask(SIG_BLOCK, &hs_caught, &hs_mask_before);
}

static void hs_in_parent(void) {
    pthread_sigmask(SIG_SETMASK, &hs_mask_before, NULL);
}

static void hs_in_child(void) {
    int number;
    hs_process = getpid();
    atomic_store(&hs_tell_fd, -1);
    hs_counted_begin = atomic_load(&hs_counted_end);
    for (number = 1; number < NSIG; number++) {
        atomic_store(&hs_waiting[number], 0);
        if (hs_own_fork || !sigismember(&hs_caught, number)) continue;
        if (hs_is_caught(number)) sigaction(number, &hs_before[number], NULL);
        atomic_store(&hs_kinds[number], HS_FREE);
    }
    if (!hs_own_fork) {
        hs_copies++;
        sigemptyset(&hs_caught);
    }
    pthread_sigmask(SIG_SETMASK, &hs_mask_before, NULL);
}

/* Be called at every fork of this process. Returns 0, or an error's number. */
static int hs_watch_forks(void) {
    sigemptyset(&hs_caught);
    return pthread_atfork(hs_before_fork, hs_in_parent, hs_in_child);
}
