/* SPDX-License-Identifier: GPL-2.0 */
/* options.h: the options that several tools have */
#ifndef VPIPE_TOOLS_OPTIONS_H
#define VPIPE_TOOLS_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

/*
 * The ways of a transfer: libvpipe; ordinary calls only; libvpipe, and nothing but
 * what the driver domain moves.  Their names, in this order, are the program's.
 */
enum path { PATH_AUTO, PATH_ORDINARY, PATH_OFFLOAD, N_PATHS };

/* False: it is not one, and that was said. */
bool option_path(const char *s, const char *const names[N_PATHS], enum path *path);
bool option_number(const char *s, int64_t max, int64_t *value);

#endif
