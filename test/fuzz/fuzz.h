/*
 * fuzz.h - what the fuzzers share: properties that stop a run, and input that is taken apart.
 *
 * Each fuzzer is one source file, so this header may define functions. Random bytes are the same in
 * every run, so that a finding can be repeated.
 *
 * SPDX-License-Identifier: ISC
 */
#ifndef PGWEIR_TEST_FUZZ_H
#define PGWEIR_TEST_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/compiler.h"
#include "base/memory.h"
#include "base/random.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A property that must hold for every input. */
#define HOLDS(condition)                                                                   \
    do {                                                                                   \
        if (!(condition)) {                                                                \
            fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #condition); \
            abort();                                                                       \
        }                                                                                  \
    } while (0)

/* In the place of the one in the library. */
void random_bytes(void *ret_bytes, size_t size)
{
    uint8_t *bytes = ret_bytes;
    for (size_t i = 0; i < size; i++)
        bytes[i] = (uint8_t) (i * 37 + 11);
}

/* What is left of the input. */
struct input {
    const uint8_t *at;
    size_t left;
};

/* The next byte; 0 at the end. */
UNUSED static uint8_t take_byte(struct input *input)
{
    if (input->left == 0)
        return 0;
    input->left--;
    return *input->at++;
}

/* A copy of the next bytes: at most `size`, in memory of just that size. The caller frees. */
UNUSED static uint8_t *take_bytes(struct input *input, size_t size, size_t *ret_size)
{
    size_t taken = size < input->left ? size : input->left;
    uint8_t *bytes = memory_resize(NULL, taken);
    if (taken > 0)
        memcpy(bytes, input->at, taken);
    input->at += taken;
    input->left -= taken;
    *ret_size = taken;
    return bytes;
}

/* A message: two bytes of length, then that many bytes. The caller frees. */
UNUSED static uint8_t *take_message(struct input *input, size_t *ret_size)
{
    size_t size = take_byte(input);
    size = size << 8 | take_byte(input);
    return take_bytes(input, size, ret_size);
}

/* All that is left as a text; what stands behind a zero byte is cut off. The caller frees. */
UNUSED static char *take_rest(struct input *input)
{
    char *text = memory_copy_bytes(input->at, input->left);
    input->left = 0;
    return text;
}

UNUSED static void put_text(struct buffer *out, const char *text)
{
    buffer_append(out, text, strlen(text));
}

/* `text` between quotes, each quote in it doubled. */
UNUSED static void add_quoted(struct buffer *out, const char *text, char quote)
{
    buffer_append(out, &quote, 1);
    for (; *text != '\0'; text++) {
        if (*text == quote)
            buffer_append(out, text, 1);
        buffer_append(out, text, 1);
    }
    buffer_append(out, &quote, 1);
}

/* Ends what was written, and borrows it as a text. */
UNUSED static const char *end_text(struct buffer *out)
{
    buffer_append(out, "", 1);
    return (const char *) out->data;
}

UNUSED static bool is_same_text(const char *a, const char *b)
{
    return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

UNUSED static bool is_same_buffer(const struct buffer *a, const struct buffer *b)
{
    return a->size == b->size && (a->size == 0 || memcmp(a->data, b->data, a->size) == 0);
}

#endif
