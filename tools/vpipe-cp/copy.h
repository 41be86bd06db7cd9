/* SPDX-License-Identifier: GPL-2.0 */
/* copy.h: the data of one file */
#ifndef VPIPE_CP_COPY_H
#define VPIPE_CP_COPY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../ordinary.h"

enum sparse {
	SPARSE_AUTO,	/* holes stay holes */
	SPARSE_NEVER,	/* holes become zeros */
	SPARSE_ALWAYS,	/* zeros become holes, too */
	N_SPARSE,
};

struct copy {
	int in;
	int out;		/* an empty file, or something that is no regular file */
	const char *name;	/* of the source, to show progress with; or NULL */
	enum sparse sparse;
	bool only_call;		/* not by libvpipe, */
	enum call call;		/* but by this, */
	size_t buffer;		/* with so many bytes between */
	uint64_t offloaded;	/* bytes, of which holes have none */
	uint64_t ordinary;
	unsigned int reason;	/* enum vpipe_declined: the one that says most */
	int64_t end;		/* so far has the source been looked at */
	bool ended;		/* it has no more */
};

/* Returns 0 or an errno. */
int copy_data(struct copy *c);

#endif
