/* SPDX-License-Identifier: GPL-2.0 */
/* ordinary.h: move bytes without libvpipe, by the system call that is asked for */
#ifndef VPIPE_TOOLS_ORDINARY_H
#define VPIPE_TOOLS_ORDINARY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum call { CALL_READ_WRITE, CALL_SENDFILE, CALL_SPLICE, CALL_COPY_FILE_RANGE, N_CALLS };

#define ORDINARY_BUFFER		(128 << 10)
#define ORDINARY_BUFFER_MAX	(1 << 30)

/* False: it is not one, and that was said. */
bool option_call(const char *s, enum call *call);
const char *call_name(enum call call);

/*
 * Move `most` bytes, or as many as there are, from where `in` stands to where `out`
 * stands.  `buffer`: bytes of the memory, or the pipe, between the two.  Returns 0 or an
 * errno; *moved has what has arrived, also then.
 */
int ordinary_move(enum call call, int in, int out, uint64_t most, size_t buffer,
		  uint64_t *moved);

#endif
