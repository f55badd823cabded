/* Socket addresses of peers as bytes: take apart, put together, read from text. IPv4 in IPv6 counts as IPv4. */
#ifndef HALFSYNC_SOCKADDR_H
#define HALFSYNC_SOCKADDR_H

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>

#define HALFSYNC_HOST_TEXT 48  /* room for an address as text, with its NUL: INET6_ADDRSTRLEN is 46 */

static const uint8_t halfsync_mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

/* Find the host in a socket address: its bytes, and the port. Returns the number of bytes, 4 or 16; 0: it is not an IP
   address. The socket address need not be aligned: records keep it as bytes. */
static inline int host_bytes(const void *address, int length, const uint8_t **host, int *port) {
    const uint8_t *bytes = address;
    struct sockaddr_in four;
    struct sockaddr_in6 six;
    if (length < (int)sizeof(four))
        return 0;
    memcpy(&four, bytes, sizeof(four));
    if (four.sin_family == AF_INET) {
        *host = bytes + offsetof(struct sockaddr_in, sin_addr);
        *port = ntohs(four.sin_port);
        return 4;
    }
    if (length >= (int)sizeof(six) && four.sin_family == AF_INET6) {
        memcpy(&six, bytes, sizeof(six));
        *host = bytes + offsetof(struct sockaddr_in6, sin6_addr);
        *port = ntohs(six.sin6_port);
        if (memcmp(*host, halfsync_mapped, 12) == 0) { *host += 12; return 4; }
        return 16;
    }
    return 0;
}

/* Write the host (4 or 16 bytes) as text into HALFSYNC_HOST_TEXT bytes. */
static inline void host_text(const uint8_t *host, int length, char *text) {
    inet_ntop(length == 4 ? AF_INET : AF_INET6, host, text, HALFSYNC_HOST_TEXT);
}

/* Make the socket address of a host (4 or 16 bytes) and a port. Returns its length, at most 28. */
static inline int address_of(void *address, const uint8_t *host, int length, int port) {
    struct sockaddr_in four = {.sin_family = AF_INET, .sin_port = htons(port)};
    struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
    if (length == 16 && memcmp(host, halfsync_mapped, 12) == 0) { host += 12; length = 4; }
    if (length == 4) {
        memcpy(&four.sin_addr, host, 4);
        memcpy(address, &four, sizeof(four));
        return sizeof(four);
    }
    memcpy(&six.sin6_addr, host, 16);
    memcpy(address, &six, sizeof(six));
    return sizeof(six);
}

/* Make the address of an unnamed unix socket. Returns its length. */
static inline int address_of_unix(void *address) {
    sa_family_t family = AF_UNIX;
    memcpy(address, &family, sizeof(family));
    return sizeof(family);
}

/* Read an IPv4 address (length 4) or an IPv6 address (16) from text that need not end with NUL. 0: it is not one. */
static inline int host_read(const char *text, size_t size, int length, uint8_t *host) {
    char copy[HALFSYNC_HOST_TEXT];
    if (size >= sizeof(copy) || memchr(text, 0, size)) return 0;
    memcpy(copy, text, size);
    copy[size] = 0;
    return inet_pton(length == 4 ? AF_INET : AF_INET6, copy, host) == 1;
}

#endif
