/* SPDX-License-Identifier: GPL-2.0 */
/*
 * share.h: what a domain may have of dom0, as vpipectl writes it into the backend's
 * directory in xenstore, where the backend takes it live.  Pure logic.
 *
 *   weight       1..65535: its share beside the others'
 *   cap          bytes per second, at most 10^15; 0: none
 *   max-ops      1..2^31-1: operations
 *   max-chunks   1..2^31-1: of 64 KiB, data on its way
 *   max-held     1..2^31-1: frames of connections between their two homes
 */
#ifndef SHARE_H
#define SHARE_H

#include <stdbool.h>
#include <stddef.h>

enum share_item {
	SHARE_WEIGHT,
	SHARE_CAP,
	SHARE_MAX_OPS,
	SHARE_MAX_CHUNKS,
	SHARE_MAX_HELD,
	SHARE_ITEMS,
};

#define SHARE_DEFAULT_WEIGHT	256

struct share {
	long long value[SHARE_ITEMS];	/* negative: not said, the backend's default */
};

extern const char *const share_node[SHARE_ITEMS];

void share_init(struct share *share);
bool share_parse(enum share_item item, const char *text, long long *value);
void share_merge(struct share *share, const struct share *over);
bool rate_parse(const char *text, long long *rate);
void rate_format(double rate, char *text, size_t size);

#endif
