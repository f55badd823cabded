/* The server's signals across a fork, and how a copy is recognized.

   Included only by native/forks.pyx, which explains it. A native handler, which is not in Python's table, catches the
   signals that the server understands. So a child that the application forks finds in that table what the application
   left there. A handler that the application has set is recognized by its address: it is not ours. */
#include <Python.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <unistd.h>

enum { HS_COUNTED_MOST = 4096 };  /* counted signals that wait at the same time: a flood loses the oldest */
/* What happens to a signal. FREE: it is not caught. RAISED: the handler in Python's table is called, but a SIGHUP that
   does not report a closed terminal waits like a NOTED one. */
enum { HS_FREE, HS_DROPPED, HS_NOTED, HS_COUNTED, HS_HELD, HS_RAISED };
enum { HS_DEFAULT, HS_IGNORED, HS_HANDLED };  /* what the system has for a signal */

static unsigned int hs_copies;             /* forks by the application from the program's start to this process */
static unsigned int hs_forks;              /* the same, plus forks by the server */
static __thread int hs_own_fork;           /* the calling thread is about to fork for the server */
static __thread sigset_t hs_mask_before;   /* of the calling thread, while it forks */
static pid_t hs_process;                   /* the process in which the handler takes signals */
static pid_t hs_session = -1;              /* session of this process while a terminal controlled it; -1: none did */
static sigset_t hs_caught;
static struct sigaction hs_before[NSIG];   /* what each caught signal had: the default, or the application's handler */
static struct sigaction hs_seen;           /* what a signal had when hs_see looked */
static atomic_int hs_kinds[NSIG];
static atomic_uint hs_waiting[NSIG];       /* 1: a signal of the kind NOTED or HELD waits */
static atomic_uint hs_places[NSIG];        /* the order in which those arrived */
static atomic_uint hs_place;
static atomic_int hs_senders[NSIG];        /* the process that sent the last one; 0: the kernel, -1: not known */
static atomic_uchar hs_counted[HS_COUNTED_MOST];  /* a ring of the COUNTED ones, in order; 0: not written yet */
static atomic_uint hs_counted_end;
static unsigned int hs_counted_begin;      /* used by the thread that takes them */
static atomic_int hs_signal_fd = -1;

/* Return whether a terminal controls this process. Async-signal-safe. */
static int hs_has_terminal(void) {
    int fd = open("/dev/tty", O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (fd < 0) return errno != ENXIO && errno != EIO;
    close(fd);
    return 1;
}

/* Note the session of this process, if a terminal controls it. */
static void hs_note_session(void) {
    if (hs_has_terminal()) hs_session = getsid(0);
}

/* Return whether a SIGHUP from this sender reports that the terminal was closed, and is not an order. Sender 0 is the
   kernel, which sends it for no other reason. The shell of the terminal may send the same to its jobs before that.
   Async-signal-safe. */
static int hs_reports_closed_terminal(pid_t sender) {
    return sender == 0 || (sender > 0 && sender == hs_session && !hs_has_terminal());
}

/* Return whether a signal is to raise, and not to wait: any but a SIGHUP that is an order. Async-signal-safe. */
static int hs_may_raise(int number, pid_t sender) {
    return number != SIGHUP || hs_reports_closed_terminal(sender);
}

/* Note the signal, and write its number to hs_signal_fd. Async-signal-safe.

   SIGTTIN and SIGTTOU from the kernel are for a background job that uses its terminal: they stop it, as without a
   handler. Otherwise the system call that caused the signal would be tried again, and cause the next one. A SIGHUP that
   is held, and reports a closed terminal, has its default action: it may be long until it is taken. */
static void hs_on_signal(int number, siginfo_t *info, void *context) {
    int before = errno;
    int of_kernel = info->si_code > 0;
    int fd = atomic_load(&hs_signal_fd);
    int kind = atomic_load(&hs_kinds[number]);
    int sender = of_kernel ? 0 : info->si_pid > 0 ? info->si_pid : -1;
    unsigned char byte = (unsigned char)number;
    (void)context;
    if (getpid() != hs_process ||  /* a copy without atfork handlers, by vfork(2) or clone(2): default action */
        (number == SIGHUP && kind == HS_HELD && hs_reports_closed_terminal(sender))) {
        signal(number, SIG_DFL);
        raise(number);  /* delivered once this returns */
    } else if (of_kernel && (number == SIGTTIN || number == SIGTTOU)) {
        raise(SIGSTOP);
    } else if (kind == HS_RAISED && hs_may_raise(number, sender)) {
        PyErr_SetInterruptEx(number);
    } else if (kind != HS_FREE && kind != HS_DROPPED) {
        atomic_store(&hs_senders[number], sender);
        if (kind == HS_COUNTED)
            atomic_store(&hs_counted[atomic_fetch_add(&hs_counted_end, 1) % HS_COUNTED_MOST], byte);
        else if (!atomic_load(&hs_waiting[number])) {
            atomic_store(&hs_places[number], atomic_fetch_add(&hs_place, 1));
            atomic_store(&hs_waiting[number], 1);
        }
        if (fd >= 0 && write(fd, &byte, 1) < 0) {}  /* the pipe is full: its reader wakes all the same */
    }
    errno = before;
}

/* Return the action that sets our handler. While it runs no other signal is delivered: otherwise all pending signals
   would be stacked on each other before the first is handled, and the alternate stack of Python's faulthandler is too
   small for that. Faults of the processor, and an abort, are never held back. */
static struct sigaction hs_action(int flags) {
    static const int faults[] = {SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGSEGV, SIGSYS, SIGTRAP};
    struct sigaction action = {.sa_sigaction = hs_on_signal, .sa_flags = flags | SA_ONSTACK | SA_SIGINFO};
    unsigned int at;
    sigfillset(&action.sa_mask);
    for (at = 0; at < sizeof(faults) / sizeof(faults[0]); at++) sigdelset(&action.sa_mask, faults[at]);
    return action;
}

static int hs_is_caught(int number) {
    struct sigaction now;
    return sigaction(number, NULL, &now) == 0 && (now.sa_flags & SA_SIGINFO) && now.sa_sigaction == hs_on_signal;
}

/* Return what the system has for a signal or, if it is caught, had before. */
static int hs_disposition(int number) {
    struct sigaction now = hs_before[number];
    if (!hs_is_caught(number) && sigaction(number, NULL, &now) < 0) return HS_HANDLED;
    return now.sa_handler == SIG_DFL ? HS_DEFAULT : now.sa_handler == SIG_IGN ? HS_IGNORED : HS_HANDLED;
}

/* Note what a signal has, for hs_put_back. */
static void hs_see(int number) {
    sigaction(number, NULL, &hs_seen);
}

/* Restore what hs_see noted, if the signal has another handler now. Returns whether it had. */
static int hs_put_back(int number) {
    struct sigaction now;
    if (sigaction(number, NULL, &now) < 0 || now.sa_handler == hs_seen.sa_handler) return 0;
    sigaction(number, &hs_seen, NULL);
    return 1;
}

/* Catch a signal from now on, and forget one that waits, unless it was held or raised. Returns the previous kind, or
   -errno. */
static int hs_catch(int number, int kind) {
    struct sigaction action = hs_action(SA_RESTART);
    int last = atomic_load(&hs_kinds[number]);
    int before = hs_is_caught(number) ? last : HS_FREE;
    hs_process = getpid();
    atomic_store(&hs_kinds[number], kind);
    if (before != HS_HELD && last != HS_RAISED) atomic_store(&hs_waiting[number], 0);
    if (before != HS_FREE) return before;
    if (sigaction(number, &action, &hs_before[number]) < 0) return -errno;
    sigaddset(&hs_caught, number);
    return HS_FREE;
}

/* Call the handler in Python's table for a caught signal, also for one that waits, until it is caught again. A copy has
   what there was before it was caught. A waiting system call is interrupted, as by any handler of Python's. Returns 0
   or -errno. */
static int hs_raise(int number) {
    struct sigaction action = hs_action(0);
    atomic_store(&hs_kinds[number], HS_RAISED);
    if (sigaction(number, &action, NULL) < 0) return -errno;
    if (hs_may_raise(number, atomic_load(&hs_senders[number])) && atomic_exchange(&hs_waiting[number], 0))
        PyErr_SetInterruptEx(number);
    return 0;
}

/* Restore what a signal had before it was caught, if our handler is still set. */
static void hs_release(int number) {
    if (hs_is_caught(number)) sigaction(number, &hs_before[number], NULL);
    sigdelset(&hs_caught, number);
    atomic_store(&hs_kinds[number], HS_FREE);
    atomic_store(&hs_waiting[number], 0);
}

/* Take a signal that arrived, and return its number: the counted ones first, then the oldest of the others. 0: none. */
static int hs_take(void) {
    int number, found = 0;
    unsigned int end = atomic_load(&hs_counted_end);
    if (end - hs_counted_begin > HS_COUNTED_MOST) hs_counted_begin = end - HS_COUNTED_MOST;
    if (hs_counted_begin != end) {
        found = atomic_exchange(&hs_counted[hs_counted_begin % HS_COUNTED_MOST], 0);
        if (found) {
            hs_counted_begin++;
            return found;
        }  /* 0: its handler is about to put it there, and then wakes the reader */
    }
    for (number = 1; number < NSIG; number++) {
        if (!atomic_load(&hs_waiting[number])) continue;
        if (!found || (int)(atomic_load(&hs_places[number]) - atomic_load(&hs_places[found])) < 0) found = number;
    }
    if (found) atomic_store(&hs_waiting[found], 0);
    return found;
}

/* Block our signals until the child has its own state: before that, its handler would write to the parent's pipe. */
static void hs_before_fork(void) {
    pthread_sigmask(SIG_BLOCK, &hs_caught, &hs_mask_before);
}

static void hs_in_parent(void) {
    pthread_sigmask(SIG_SETMASK, &hs_mask_before, NULL);
}

static void hs_in_child(void) {
    int number;
    hs_process = getpid();
    hs_forks++;
    atomic_store(&hs_signal_fd, -1);
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

/* Register the functions above for every fork of this process. Returns 0, or an error's number. */
static int hs_watch_forks(void) {
    sigemptyset(&hs_caught);
    return pthread_atfork(hs_before_fork, hs_in_parent, hs_in_child);
}
