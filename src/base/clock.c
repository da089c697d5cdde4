/*
 * clock.c - time: the monotonic clock, read at most once per turn of the loop.
 *
 * SPDX-License-Identifier: ISC
 */
#include "base/clock.h"

#include <stdbool.h>

static usec_t cached_us;
static bool cached;

static usec_t read_clock(clockid_t id)
{
    struct timespec now;
    clock_gettime(id, &now);
    return (usec_t) now.tv_sec * USEC_PER_SEC + (usec_t) now.tv_nsec / 1000;
}

usec_t clock_now_us(void)
{
    if (!cached) {
        cached_us = read_clock(CLOCK_MONOTONIC);
        cached = true;
    }
    return cached_us;
}

void clock_new_turn(void)
{
    cached = false;
}

usec_t clock_wall_us(usec_t monotonic_us)
{
    return read_clock(CLOCK_REALTIME) - read_clock(CLOCK_MONOTONIC) + monotonic_us;
}
