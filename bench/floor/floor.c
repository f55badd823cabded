/* The floor: what the kernel alone costs for one request and one response on a kept-alive connection.
 *
 * One thread, one level-triggered epoll set, one read and one write per request. It parses nothing: a GET is taken to
 * arrive whole in one read and alone (the load generator never pipelines); a POST is counted to the end of the body
 * that its Content-Length names. Whatever was asked, the answer is the file given on the command line. A server that
 * parses HTTP and calls Python can approach this program's cost and not pass it.
 *
 * Usage: floor PORT REPLY_FILE
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BUFFER_BYTES = 1 << 16, EVENTS = 512, BACKLOG = 4096, MAX_FDS = 1 << 17, REPLY_BYTES = 1 << 20 };

static char buffer[BUFFER_BYTES + 1];
static char reply[REPLY_BYTES];
static size_t reply_len;
static int awaited[MAX_FDS]; /* bytes of a request body that have not arrived yet, by descriptor */

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static void load_reply(const char *path)
{
    FILE *file = fopen(path, "rb");
    if (!file)
        die(path);
    reply_len = fread(reply, 1, sizeof reply, file);
    fclose(file);
}

static int listen_on(int port)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    int one = 1;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((unsigned short)port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) || listen(fd, BACKLOG))
        die("listen");
    return fd;
}

static void accept_all(int poller, int listener)
{
    int one = 1;
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
        if (fd < 0)
            return;
        if (fd >= MAX_FDS) {
            close(fd);
            continue;
        }
        struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        awaited[fd] = 0;
        epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event);
    }
}

/* How many bytes of the request are still to come after its first `got` bytes. */
static int body_left(ssize_t got)
{
    buffer[got] = 0;
    if (buffer[0] != 'P')
        return 0;
    char *length = strcasestr(buffer, "content-length:");
    char *end = memmem(buffer, (size_t)got, "\r\n\r\n", 4);
    if (!length || !end)
        return 0;
    return atoi(length + 15) - (int)(buffer + got - (end + 4));
}

static void serve(int fd)
{
    ssize_t got = read(fd, buffer, BUFFER_BYTES);
    if (got < 0 && errno == EAGAIN)
        return;
    if (got <= 0) {
        close(fd);
        return;
    }
    if (awaited[fd])
        awaited[fd] -= (int)got;
    else
        awaited[fd] = body_left(got);
    /* A reply is at most some KB and the client reads each before it asks again, so that a write is never short. */
    if (!awaited[fd] && write(fd, reply, reply_len) != (ssize_t)reply_len)
        close(fd);
}

int main(int argc, char **argv)
{
    static struct epoll_event events[EVENTS];
    if (argc != 3) {
        fprintf(stderr, "usage: floor PORT REPLY_FILE\n");
        return 2;
    }
    load_reply(argv[2]);
    int listener = listen_on(atoi(argv[1]));
    int poller = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN, .data.fd = listener};
    epoll_ctl(poller, EPOLL_CTL_ADD, listener, &event);
    for (;;) {
        int ready = epoll_wait(poller, events, EVENTS, -1);
        for (int i = 0; i < ready; i++) {
            if (events[i].data.fd == listener)
                accept_all(poller, listener);
            else
                serve(events[i].data.fd);
        }
    }
}
