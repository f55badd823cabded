# Native functions only, for other extensions: see the .pxd. Python code finds nothing to call here.
"""Random bits for names that must not collide, and need not be secret: from many of them the next can be computed.

Each thread has a generator of its own, xoshiro256++ (Blackman and Vigna, "Scrambled Linear Pseudorandom Number
Generators", 2021), with 256 bits of state from getrandom(2). A fork copies the state, so each process seeds it anew.
"""
from halfsync.native.forks cimport forks

cdef extern from *:
    """
    #include <stdint.h>
    #include <sys/random.h>
    #include <time.h>
    #include <unistd.h>

    struct hs_generator {
        uint64_t state[4];
        unsigned int seeded;  /* the count of forks when it was seeded, and 1; 0: not yet */
    };

    static _Thread_local struct hs_generator hs_own_generator;

    /* Seed a generator. If the kernel has no random bits yet, soon after the start of the system: by what differs from
       thread to thread and from process to process. */
    static void hs_seed(struct hs_generator *own, unsigned int forks) {
        struct timespec now;
        uint64_t mixed;
        int index;
        if (getrandom(own->state, sizeof(own->state), GRND_NONBLOCK) != (ssize_t)sizeof(own->state)) {
            clock_gettime(CLOCK_REALTIME, &now);
            mixed = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
            mixed ^= (uint64_t)getpid() << 40 ^ (uint64_t)(uintptr_t)own << 8;
            for (index = 0; index < 4; index++) {
                mixed = (mixed ^ mixed >> 31) * 0x9e3779b97f4a7c15u + (uint64_t)index;
                own->state[index] ^= mixed ^ mixed >> 29;
            }
        }
        own->state[0] |= 1;  /* all zero would stay so */
        own->seeded = forks + 1;
    }

    static inline uint64_t hs_rotated(uint64_t word, int bits) {
        return word << bits | word >> (64 - bits);
    }

    static inline uint64_t hs_next_word(uint64_t *state) {
        uint64_t word = hs_rotated(state[0] + state[3], 23) + state[0];
        uint64_t shifted = state[1] << 17;
        state[2] ^= state[0];
        state[3] ^= state[1];
        state[1] ^= state[2];
        state[0] ^= state[3];
        state[2] ^= shifted;
        state[3] = hs_rotated(state[3], 45);
        return word;
    }

    static inline void hs_random_words(uint64_t *words, unsigned int forks) {
        struct hs_generator *own = &hs_own_generator;
        __asm__("" : "+r"(own));  /* else the compiler looks the thread's one up several times */
        if (own->seeded != forks + 1)
            hs_seed(own, forks);
        words[0] = hs_next_word(own->state);
        words[1] = hs_next_word(own->state);
    }
    """
    void hs_random_words(uint64_t *words, unsigned int forks) nogil


cdef void random_words(uint64_t *words) noexcept nogil:
    """Write random words. See the .pxd."""
    hs_random_words(words, forks[0])
