/* SPDX-License-Identifier: GPL-2.0 */
/* pattern.h: the stream that test programs make up; every 8 bytes of it are unique. */
#ifndef PATTERN_H
#define PATTERN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes of the stream from `at` on: all sides can make them. */
void pattern(uint64_t at, void *to, size_t len);

/* Do these bytes (16 at least) begin with some of the stream, and from where on? */
bool pattern_find(const void *data, size_t len, uint64_t *at);

#endif /* PATTERN_H */
