/*
 * file_test.c - the files of a configuration, and what is none.
 *
 * SPDX-License-Identifier: ISC
 */
#include "config/file.h"

/* cmocka.h needs the headers before it. */
/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static char folder[64], path[80];

static int make_folder(void **state UNUSED)
{
    snprintf(folder, sizeof(folder), "/tmp/file_test.XXXXXX");
    if (mkdtemp(folder) == NULL)
        return 1;
    snprintf(path, sizeof(path), "%s/x", folder);
    return 0;
}

static int remove_folder(void **state UNUSED)
{
    return rmdir(folder);
}

static int remove_file(void **state UNUSED)
{
    unlink(path);
    return 0;
}

static void write_file(const void *bytes, size_t size)
{
    FILE *stream = fopen(path, "w");
    assert_non_null(stream);
    assert_int_equal(fwrite(bytes, 1, size, stream), size);
    assert_int_equal(fclose(stream), 0);
}

static void assert_refused(const char *file, int expected_errno)
{
    struct buffer text = {0};
    errno = 0;
    if (file_read(file, &text))
        fail_msg("%s was read", file);
    assert_int_equal(errno, expected_errno);
    buffer_release(&text);
}

static void test_file(void **state UNUSED)
{
    struct buffer text = {0};
    write_file("a\0b\n", 4);
    assert_true(file_read(path, &text));
    assert_int_equal(text.size, 4);
    assert_memory_equal(text.data, "a\0b\n", 4);
    buffer_release(&text);
}

static void test_empty_file(void **state UNUSED)
{
    struct buffer text = {0};
    write_file("", 0);
    assert_true(file_read(path, &text));
    assert_int_equal(text.size, 0);
    buffer_release(&text);
}

static void test_large_file(void **state UNUSED)
{
    enum { SIZE = 1000001 };
    struct buffer text = {0};
    char *bytes = malloc(SIZE);
    assert_non_null(bytes);
    for (size_t i = 0; i < SIZE; i++)
        bytes[i] = (char) (i * 7);
    write_file(bytes, SIZE);
    assert_true(file_read(path, &text));
    assert_int_equal(text.size, SIZE);
    assert_memory_equal(text.data, bytes, SIZE);
    buffer_release(&text);
    free(bytes);
}

static void test_what_is_not_there(void **state UNUSED)
{
    assert_refused("/nonexistent/file", ENOENT);
    assert_refused("", ENOENT);
}

static void test_folder(void **state UNUSED)
{
    assert_refused(folder, EISDIR);
}

/* Neither is waited for, whether somebody writes into it or not. */
static void test_named_pipe(void **state UNUSED)
{
    int fd;
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_refused(path, ENODEV);
    fd = open(path, O_RDWR);
    assert_true(fd >= 0);
    assert_refused(path, ENODEV);
    assert_int_equal(write(fd, "text", 4), 4);
    assert_refused(path, ENODEV);
    close(fd);
}

static void test_socket(void **state UNUSED)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    memcpy(address.sun_path, path, strlen(path) + 1);
    assert_int_equal(bind(fd, (struct sockaddr *) &address, sizeof(address)), 0);
    assert_refused(path, ENXIO);
    close(fd);
}

static void test_devices(void **state UNUSED)
{
    struct buffer text = {0};
    assert_refused("/dev/zero", ENODEV);
    assert_refused("/dev/urandom", ENODEV);
    assert_true(file_read("/dev/null", &text));
    assert_int_equal(text.size, 0);
    buffer_release(&text);
}

static void test_modes(void **state UNUSED)
{
    static const struct {
        mode_t mode;
        bool writable, open;
    } cases[] = {{0600, false, false}, {0640, false, false}, {0660, false, false},
                 {0644, false, true},  {0602, true, true},   {0666, true, true},
                 {0711, false, false}};
    write_file("", 0);
    for (size_t i = 0; i < countof(cases); i++) {
        assert_int_equal(chmod(path, cases[i].mode), 0);
        assert_int_equal(file_is_writable_by_others(path), cases[i].writable);
        assert_int_equal(file_is_open_to_others(path), cases[i].open);
    }
}

/* Everybody may write to /dev/null, and that is no fault. */
static void test_modes_of_what_is_no_file(void **state UNUSED)
{
    assert_false(file_is_writable_by_others("/dev/null"));
    assert_false(file_is_open_to_others("/dev/null"));
    assert_false(file_is_open_to_others("/nonexistent/file"));
}

#define file_unit_test(test) cmocka_unit_test_teardown(test, remove_file)

int main(void)
{
    const struct CMUnitTest tests[] = {
        file_unit_test(test_file),
        file_unit_test(test_empty_file),
        file_unit_test(test_large_file),
        file_unit_test(test_what_is_not_there),
        file_unit_test(test_folder),
        file_unit_test(test_named_pipe),
        file_unit_test(test_socket),
        file_unit_test(test_devices),
        file_unit_test(test_modes),
        file_unit_test(test_modes_of_what_is_no_file),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
