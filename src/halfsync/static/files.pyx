"""Find and open the file that a request's path names, so that no path leads out of its directory.

A path is decoded once, and then taken literally: a path that is not plainly the name of a file below the directory is
refused, not repaired. 400: a percent sign without two hexadecimal digits, and NUL. 404: a segment that is empty or that
begins with a dot (so "." and ".." too; `.well-known` of RFC 8615 is the exception), an encoded slash, a backslash. The
kernel checks the rest (openat2(2), RESOLVE_BENEATH). With an older kernel the path is opened segment by segment, none
of which may be a symbolic link.

Any thread may call the functions of this module. They wait for the disk only.
"""
from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdint cimport uint64_t
from libc.string cimport memchr, memcmp, memcpy, memset, strchr
from posix.unistd cimport close

from halfsync.http.grammar cimport byte_lower, hex_pair
from halfsync.native.descriptors cimport move_out_of_low

cdef extern from *:
    """
    #include <errno.h>
    #include <fcntl.h>
    #include <stdint.h>
    #include <sys/stat.h>
    #include <sys/syscall.h>
    #include <unistd.h>

    #ifndef O_PATH
    #define O_PATH O_RDONLY
    #endif
    #ifndef O_LARGEFILE
    #define O_LARGEFILE 0
    #endif
    #if defined(__linux__) && !defined(SYS_openat2)
    #define SYS_openat2 437  /* the same on every architecture */
    #endif

    /* As in <linux/openat2.h>, which older systems lack. */
    enum { HS_NO_MAGICLINKS = 2, HS_NO_SYMLINKS = 4, HS_BENEATH = 8 };

    static int hs_openat2(int directory, const char *path, uint64_t flags, uint64_t resolve) {
    #ifdef SYS_openat2
        struct { uint64_t flags, mode, resolve; } how = {flags, 0, resolve};
        return (int)syscall(SYS_openat2, directory, path, &how, sizeof(how));
    #else
        errno = ENOSYS;
        return -1;
    #endif
    }

    static int hs_stat(int fd, int64_t *size, int64_t *modified_s, int64_t *modified_ns) {
        struct stat status;
        if (fstat(fd, &status) < 0)
            return -errno;
        *size = status.st_size;
        *modified_s = status.st_mtim.tv_sec;
        *modified_ns = status.st_mtim.tv_nsec;
        return S_ISREG(status.st_mode) ? 0 : S_ISDIR(status.st_mode) ? 1 : 2;
    }
    """
    int hs_openat2(int directory, const char *path, uint64_t flags, uint64_t resolve) nogil
    int hs_stat(int fd, int64_t *size, int64_t *modified_s, int64_t *modified_ns) nogil
    int openat(int directory, const char *path, int flags) nogil
    const int AT_FDCWD, O_CLOEXEC, O_DIRECTORY, O_LARGEFILE, O_NOCTTY, O_NOFOLLOW, O_NONBLOCK, O_PATH, O_RDONLY
    const uint64_t HS_NO_MAGICLINKS, HS_NO_SYMLINKS, HS_BENEATH

cdef enum:
    TRIES = 4  # of an openat2 that a rename elsewhere has disturbed (EAGAIN)

cdef const char *INDEX = b"index.html"
cdef const char *WELL_KNOWN = b".well-known"


def has_openat2():
    """Return whether openat2(2) works here: it needs Linux 5.6, and no filter of system calls may forbid it."""
    cdef int fd = hs_openat2(AT_FDCWD, b"/", O_PATH | O_CLOEXEC, HS_NO_MAGICLINKS)
    if fd < 0:
        return False
    close(fd)
    return True


cdef int decode(const char *raw, uint32_t length, FileLocation *location) noexcept nogil:
    """Decode a path into the location's text, as far as there is room. Returns 0, or the status of an error."""
    cdef uint32_t at = 0
    cdef uint32_t end = 0
    cdef int result = 0
    cdef int escaped
    cdef char byte
    while at < length and end < PATH_BYTES:
        byte = raw[at]
        at += 1
        if byte == c'%':
            escaped = hex_pair(raw + at) if length - at >= 2 else -1
            if escaped < 0:
                result = 400
            else:
                byte = <char> escaped
                at += 2
                if byte == 0:
                    result = 400
                elif byte == c'/' and result == 0:
                    result = 404
        if byte == c'\\' and result == 0:
            result = 404
        location.text[end] = byte
        end += 1
    location.length = end
    if at < length and result == 0:
        result = 404  # longer than any file's path
    return result


cdef int check_segments(const char *at, const char *end) noexcept nogil:
    """Return 0 if every segment may be the name of a file or a directory, else 404."""
    cdef const char *segment
    while at < end:
        segment = at
        at = <const char *> memchr(segment, c'/', end - segment)
        if at == NULL:
            at = end
        if at == segment:
            return 404
        if segment[0] == c'.' and (at - segment != 11 or memcmp(segment, WELL_KNOWN, 11) != 0):
            return 404
        at += 1
    return 0


cdef bint files_find(const Files *files, const char *raw, uint32_t length, FileLocation *location) noexcept nogil:
    """Find the directory that a path is in, and its name there. Return False if there is none.

    An error in a path counts only under a prefix: the application handles every other path.
    """
    cdef const Mount *mount
    cdef int status = decode(raw, length, location)
    cdef int position
    for position in range(files.mounts_count):
        mount = &files.mounts[position]
        if (
            location.length >= mount.prefix_length and memcmp(location.text, mount.prefix, mount.prefix_length) == 0
            and (location.length == mount.prefix_length or location.text[mount.prefix_length] == c'/')
        ):
            break
    else:
        return False
    location.mount = mount
    location.index = False
    if location.length == mount.prefix_length:
        location.path = location.text + location.length
        location.length = 0
        location.status = status if status != 0 else 301
    else:
        location.path = location.text + mount.prefix_length + 1
        location.length -= mount.prefix_length + 1
        location.status = status if status != 0 else check_segments(location.path, location.path + location.length)
        if location.length == 0 or location.path[location.length - 1] == c'/':
            location.index = True
            memcpy(location.path + location.length, INDEX, 10)
            location.length += 10
    location.path[location.length] = 0
    return True


cdef int open_by_walk(int directory, char *path, int flags) noexcept nogil:
    """Open without following a symbolic link anywhere in the path, which is cut for a moment. Returns as files_open."""
    cdef int at = directory
    cdef int found, error
    cdef char *slash
    while True:
        slash = strchr(path, c'/')
        if slash == NULL:
            found = openat(at, path, flags | O_NOFOLLOW)
        else:
            slash[0] = 0
            found = openat(at, path, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
            slash[0] = c'/'
        error = errno
        if at != directory:
            close(at)
        if found < 0:
            return -error
        if slash == NULL:
            return found
        at = found
        path = slash + 1


cdef int files_open(const Files *files, const FileLocation *location) noexcept nogil:
    """Open the file that a location names, for reading. Returns its descriptor, or -errno.

    It may be of any kind: a FIFO does not block, and a terminal does not become this process's controlling terminal.
    """
    cdef int flags = O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY | O_LARGEFILE
    cdef int result = -EAGAIN
    cdef int _
    for _ in range(TRIES):
        if files.walks and not files.symlinks:
            result = open_by_walk(location.mount.fd, location.path, flags)
        else:
            if files.walks:
                result = openat(location.mount.fd, location.path, flags)
            elif files.symlinks:
                result = hs_openat2(location.mount.fd, location.path, flags, HS_NO_MAGICLINKS)
            else:
                result = hs_openat2(
                    location.mount.fd, location.path, flags, HS_BENEATH | HS_NO_SYMLINKS | HS_NO_MAGICLINKS)
            if result < 0:
                result = -errno
        if result != -EINTR and result != -EAGAIN:
            break
    return move_out_of_low(result)


cdef int files_stat(int fd, FileStat *stat) noexcept nogil:
    """Get an open file's size and its time of modification. Returns its FileKind, or -errno."""
    return hs_stat(fd, &stat.size, &stat.modified_s, &stat.modified_ns)


cdef uint32_t type_hash(const char *extension) noexcept nogil:
    """Return the hash of an extension: EXTENSION_BYTES in lower case, padded with zeros."""
    cdef uint32_t hashed = 0
    cdef int position
    for position in range(EXTENSION_BYTES):
        if extension[position] == 0:
            break
        hashed = hashed * 31 + <unsigned char> extension[position]
    return hashed


cdef const TypeSlot *files_type(const Files *files, const FileLocation *location) noexcept nogil:
    """Return the content type of a location, by the extension of its name."""
    cdef char extension[EXTENSION_BYTES]
    cdef const TypeSlot *slot
    cdef uint32_t at = location.length
    cdef uint32_t length, position
    while at > 0 and location.path[at - 1] != c'.':
        if location.path[at - 1] == c'/':
            return &files.unknown
        at -= 1
    length = location.length - at
    if at == 0 or length == 0 or length > EXTENSION_BYTES:
        return &files.unknown
    memset(extension, 0, EXTENSION_BYTES)
    for position in range(length):
        extension[position] = byte_lower(location.path[at + position])
    position = type_hash(extension) & files.types_mask
    while True:
        slot = &files.types[position]
        if slot.extension[0] == 0:
            return &files.unknown
        if memcmp(slot.extension, extension, EXTENSION_BYTES) == 0:
            return slot
        position = (position + 1) & files.types_mask
