/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A transfer is a struct vpipe_move that goes through four stations, each of which
 * leaves it where the next one has to continue:
 *   check     refuses bad arguments, the same ones with and without a driver
 *   head      with a driver, moves what lies before the first whole block of a file
 *   device    lets the driver domain move what it can
 *   fallback  moves the rest by ordinary calls
 */
#ifndef LIBVPIPE_INTERNAL_H
#define LIBVPIPE_INTERNAL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include <linux/vpipe.h>
#include "vpipe.h"

#define VPIPE_KIND_END	(VPIPE_KIND_SOCKET_TO_SOCKET + 1)

struct vpipe {
	int in_fd;
	int out_fd;
	int device;		/* or a negative errno */
	/*
	 * The driver's handle for each kind, made at its first use.  They belong to
	 * the open file behind `device`, which no other vpipe_t shares: closing it
	 * is all there is to clean up, and a forked child's close harms nobody.
	 */
	_Atomic uint32_t handles[VPIPE_KIND_END];
};

struct vpipe_move {
	enum vpipe_kind kind;
	int in_fd;
	int out_fd;
	int64_t in_offset;	/* of the next byte; 0 for a socket */
	int64_t out_offset;
	uint64_t length;	/* still to be moved */
	uint64_t moved;
};

static inline bool vpipe_move_from_socket(const struct vpipe_move *m)
{
	return m->kind == VPIPE_KIND_SOCKET_TO_FILE ||
	       m->kind == VPIPE_KIND_SOCKET_TO_SOCKET;
}

static inline bool vpipe_move_to_socket(const struct vpipe_move *m)
{
	return m->kind == VPIPE_KIND_FILE_TO_SOCKET ||
	       m->kind == VPIPE_KIND_SOCKET_TO_SOCKET;
}

static inline void vpipe_move_advance(struct vpipe_move *m, uint64_t n)
{
	if (!vpipe_move_from_socket(m))
		m->in_offset += (int64_t)n;
	if (!vpipe_move_to_socket(m))
		m->out_offset += (int64_t)n;
	m->length -= n;
	m->moved += n;
}

/* Both return 0 or an errno. */
int vpipe_check_descriptors(int in_fd, int out_fd);
int vpipe_check_move(struct vpipe_move *m);

/* Whether nothing can be read at this offset, whatever fstat(2) says of the size. */
bool vpipe_check_at_end(int fd, int64_t offset);

/* A descriptor of /dev/vpipe or a negative errno. */
int vpipe_device_open(void);

/* Whether a driver domain would move this kind at this moment. */
bool vpipe_device_offers(int device, enum vpipe_kind kind);

/*
 * True: the transfer ended here, with *error (0 or an errno).  False: it has to be
 * continued by ordinary calls, and info says why.  vp is NULL without a handle.
 */
bool vpipe_device_offload(struct vpipe_move *m, struct vpipe *vp, int device,
			  struct vpipe_transfer_info *info, int *error);

/* The bytes of a transfer before the first block of its sink that the driver may write. */
uint64_t vpipe_head_length(const struct vpipe_move *m);

/* Moves them by ordinary calls.  True: the transfer ended here, with *error. */
bool vpipe_head_run(struct vpipe_move *m, uint64_t head, int *error);

/* All return 0 or an errno; `m` tells how far they came. */
int vpipe_fallback_run(struct vpipe_move *m);
int vpipe_fallback_from_file(struct vpipe_move *m);
int vpipe_fallback_from_socket(struct vpipe_move *m);

/* Wait until a socket that said EAGAIN is worth another try. */
int vpipe_fallback_wait(int fd, short events);

/* Give bytes to the sink; returns how many it took (at least 1) or a negative errno. */
ssize_t vpipe_fallback_put(const struct vpipe_move *m, const void *buf, size_t len);

/* A buffer for free(3), and how much of it the next step of a transfer may use. */
void *vpipe_fallback_buffer(void);
size_t vpipe_fallback_room(const struct vpipe_move *m);

void vpipe_result_set(const struct vpipe_transfer_info *info);

/* Fill a caller's structure of which it knows `size` bytes. */
void vpipe_result_copy(void *to, size_t size, const void *from, size_t from_size);

#endif
