/*
 * file.c - reads the files of a configuration.
 *
 * SPDX-License-Identifier: ISC
 */
#include "config/file.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define CHUNK_SIZE 65536
#define READ_TRIES 5

/* Files up to here are read into one place, so that no growth leaves copies of secrets behind. */
#define RESERVED_MAX (64 * 1024 * 1024)

/* One read into the buffer: the count of bytes, 0 at the end, or -1 with errno set. */
static ssize_t read_chunk(int fd, struct buffer *text)
{
    uint8_t *chunk = buffer_extend(text, CHUNK_SIZE);
    ssize_t count;
    do
        count = read(fd, chunk, CHUNK_SIZE);
    while (count < 0 && errno == EINTR);
    text->size -= CHUNK_SIZE - (size_t) (count > 0 ? count : 0);
    return count;
}

static bool read_all(int fd, const struct stat *status, struct buffer *text)
{
    ssize_t count;
    if (S_ISREG(status->st_mode) && status->st_size > 0 && status->st_size <= RESERVED_MAX)
        buffer_reserve(text, (size_t) status->st_size + CHUNK_SIZE);
    if (S_ISFIFO(status->st_mode) || S_ISSOCK(status->st_mode)) {
        errno = ENODEV;
        return false;
    }
    while ((count = read_chunk(fd, text)) > 0)
        if (S_ISCHR(status->st_mode) || S_ISBLK(status->st_mode)) {
            errno = ENODEV; /* it may have no end */
            return false;
        }
    return count == 0;
}

/*
 * True if nobody has written to the file, or put another in its place, while its `size` bytes were
 * read. The kernel's own files say that they are empty.
 */
static bool is_whole(const char *file, const struct stat *before, size_t size)
{
    struct stat now;
    if (!S_ISREG(before->st_mode))
        return true;
    return (size == (size_t) before->st_size || before->st_size == 0) && stat(file, &now) == 0 &&
           now.st_ino == before->st_ino && now.st_dev == before->st_dev &&
           now.st_size == before->st_size && now.st_mtim.tv_sec == before->st_mtim.tv_sec &&
           now.st_mtim.tv_nsec == before->st_mtim.tv_nsec;
}

static bool read_once(const char *file, struct buffer *text, bool *ret_whole)
{
    int fd = open(file, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK); /* a pipe must not wait */
    size_t old_size = text->size;
    struct stat status;
    bool good;
    int saved_errno;
    if (fd < 0)
        return false;
    good = fstat(fd, &status) == 0 && read_all(fd, &status, text);
    saved_errno = errno;
    close(fd);
    *ret_whole = good && is_whole(file, &status, text->size - old_size);
    errno = saved_errno;
    return good;
}

bool file_read(const char *file, struct buffer *ret_text)
{
    size_t old_size = ret_text->size;
    for (int i = 0; i < READ_TRIES; i++) {
        bool whole;
        ret_text->size = old_size; /* what is behind it will be overwritten or wiped */
        if (!read_once(file, ret_text, &whole))
            return false;
        if (whole)
            return true;
    }
    errno = ETXTBSY; /* it is being written */
    return false;
}

static bool has_mode(const char *file, mode_t bits)
{
    struct stat status;
    return stat(file, &status) == 0 && S_ISREG(status.st_mode) && (status.st_mode & bits) != 0;
}

bool file_is_writable_by_others(const char *file)
{
    return has_mode(file, S_IWOTH);
}

bool file_is_open_to_others(const char *file)
{
    return has_mode(file, S_IROTH | S_IWOTH);
}
