/* What each byte may be in HTTP, as one table, and the scan of a field value, eight bytes at a time. */
#ifndef HALFSYNC_ASCII_H
#define HALFSYNC_ASCII_H

#include <stdint.h>
#include <string.h>

enum {
    BYTE_TOKEN = 1,   /* tchar, RFC 9110 5.6.2: methods and field names */
    BYTE_TARGET = 2,  /* visible ASCII except "#": a request target has no fragment, RFC 9112 3.2 */
    BYTE_VALUE = 4,   /* field-content with HTAB, SP and obs-text, RFC 9110 5.5 */
    BYTE_HOST = 8,    /* reg-name, RFC 3986 3.2.2: unreserved, sub-delims, and the "%" of an escape */
    BYTE_DIGIT = 16,
    BYTE_HEX = 32,
};

#define HALFSYNC_NAME (BYTE_TOKEN | BYTE_TARGET | BYTE_VALUE | BYTE_HOST)
#define HALFSYNC_VISIBLE (BYTE_TARGET | BYTE_VALUE)

static const uint8_t halfsync_bytes[256] = {
    ['\t'] = BYTE_VALUE,
    [' '] = BYTE_VALUE,
    ['#'] = BYTE_TOKEN | BYTE_VALUE,
    ['0' ... '9'] = HALFSYNC_NAME | BYTE_DIGIT | BYTE_HEX,
    ['A' ... 'F'] = HALFSYNC_NAME | BYTE_HEX,
    ['G' ... 'Z'] = HALFSYNC_NAME,
    ['a' ... 'f'] = HALFSYNC_NAME | BYTE_HEX,
    ['g' ... 'z'] = HALFSYNC_NAME,
    ['!'] = HALFSYNC_NAME, ['$'] = HALFSYNC_NAME, ['%'] = HALFSYNC_NAME, ['&'] = HALFSYNC_NAME,
    ['\''] = HALFSYNC_NAME, ['*'] = HALFSYNC_NAME, ['+'] = HALFSYNC_NAME, ['-'] = HALFSYNC_NAME,
    ['.'] = HALFSYNC_NAME, ['_'] = HALFSYNC_NAME, ['~'] = HALFSYNC_NAME,
    ['^'] = BYTE_TOKEN | HALFSYNC_VISIBLE, ['`'] = BYTE_TOKEN | HALFSYNC_VISIBLE,
    ['|'] = BYTE_TOKEN | HALFSYNC_VISIBLE,
    ['('] = BYTE_HOST | HALFSYNC_VISIBLE, [')'] = BYTE_HOST | HALFSYNC_VISIBLE,
    [','] = BYTE_HOST | HALFSYNC_VISIBLE, [';'] = BYTE_HOST | HALFSYNC_VISIBLE,
    ['='] = BYTE_HOST | HALFSYNC_VISIBLE,
    ['"'] = HALFSYNC_VISIBLE, ['/'] = HALFSYNC_VISIBLE, [':'] = HALFSYNC_VISIBLE, ['<'] = HALFSYNC_VISIBLE,
    ['>'] = HALFSYNC_VISIBLE, ['?'] = HALFSYNC_VISIBLE, ['@'] = HALFSYNC_VISIBLE, ['['] = HALFSYNC_VISIBLE,
    ['\\'] = HALFSYNC_VISIBLE, [']'] = HALFSYNC_VISIBLE, ['{'] = HALFSYNC_VISIBLE, ['}'] = HALFSYNC_VISIBLE,
    [0x80 ... 0xff] = BYTE_VALUE,
};

static inline int byte_is(char byte, uint8_t kind) {
    return halfsync_bytes[(uint8_t)byte] & kind;
}

static inline char byte_lower(char byte) {
    return byte >= 'A' && byte <= 'Z' ? (char)(byte | 0x20) : byte;
}

/* Return the high bit of every byte below 0x20 or equal to 0x7f. A borrow can also mark other bytes next to such
 * a byte, but none in a word without one: so zero means that all eight may be in a value. (HTAB is marked too.) */
static inline uint64_t controls_in(uint64_t word) {
    const uint64_t ones = UINT64_MAX / 255, del = word ^ (ones * 0x7f);
    return (((word - ones * 0x20) & ~word) | ((del - ones) & ~del)) & (ones * 0x80);
}

/* Return the first byte of at..end that may not be in a field value, or end. */
static inline const char *value_end(const char *at, const char *end) {
    uint64_t word;
    for (;;) {
        while (end - at >= 8) {
            memcpy(&word, at, 8);
            if (controls_in(word)) break;
            at += 8;
        }
        const char *stop = end - at >= 8 ? at + 8 : end;
        for (; at < stop; at++)
            if (!byte_is(*at, BYTE_VALUE)) return at;
        if (at == end) return end;
    }
}

#endif
