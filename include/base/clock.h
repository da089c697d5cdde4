/*
 * clock.h - time. Intervals are measured on the monotonic clock, which is read once per loop turn.
 *
 * All times are microseconds in a usec_t and end in `_us`. Only certificates, VALID UNTIL and the
 * time stamps that people read follow the wall clock.
 *
 * SPDX-License-Identifier: ISC
 */
#ifndef PGWEIR_BASE_CLOCK_H
#define PGWEIR_BASE_CLOCK_H

#include <stdint.h>
#include <time.h>

typedef uint64_t usec_t;

#define USEC_PER_MSEC UINT64_C(1000)
#define USEC_PER_SEC  UINT64_C(1000000)

/* Monotonic time; all calls between two clock_new_turn() give the same answer. */
usec_t clock_now_us(void);

/* The next clock_now_us() reads the clock again. Called by the loop before it sleeps. */
void clock_new_turn(void);

/* The wall-clock moment that corresponds to a monotonic one, in microseconds since 1970. */
usec_t clock_wall_us(usec_t monotonic_us);

#endif
