/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A /dev/vpipe that does what a test orders, and really moves the bytes that it says it
 * moved.  The system calls are interposed by the linker (--wrap).
 */
#ifndef TEST_DRIVER_H
#define TEST_DRIVER_H

#include <linux/vpipe.h>
#include "support.h"

#define RACERS	8	/* threads that may make handles */
#define RUNNING	77	/* the number of an operation that goes on */

struct driver {
	/* Orders */
	int open_error;
	int create_error;
	int ioctl_error;
	uint64_t limit;		/* bytes it moves at most */
	int64_t block;		/* of a sink file: moves only whole ones; 0: all */
	uint32_t status;	/* how it ends then */
	uint32_t reason;
	uint32_t error;
	struct vpipe_ioc_info info;
	bool slow_create;
	int complete_error;
	unsigned int signals;	/* that come during a transfer; counted down */
	bool step_ordered;	/* sendfile(2) and copy_file_range(2) answer this: */
	int step_error;		/* 0: that nothing was moved */
	/* Records */
	unsigned int opens, creates, destroys, transfers;
	struct vpipe_ioc_create handles[2 * RACERS];
	struct vpipe_ioc_transfer last;
	struct vpipe_result running;	/* of one that a signal has come to */
	pthread_mutex_t lock;	/* the records */
};
extern struct driver driver;

/* A driver that moves all and says it is done; a setup function of cmocka. */
int driver_setup(void **state);

/* Whether this end of a kind is a socket. */
bool driver_is_socket(uint32_t kind, bool in);

/* How the last transfer of this thread went, in all members. */
void expect_info(uint64_t offloaded, uint64_t ordinary, uint32_t reason, int error,
		 int device_error);

#endif
