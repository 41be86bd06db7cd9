// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The driver domain writes whole blocks of a file.  When a sink begins inside one,
 * ordinary calls move the bytes up to the next block, so that the rest is for the
 * driver.
 */
#include <sys/vfs.h>

#include "internal.h"

/*
 * 0: unknown.  Not st_blksize: XFS says there what is good for I/O, a page at least
 * and a stripe at will; f_bsize is the unit of allocation on ext4 and on XFS.
 */
static int64_t head_block(int fd)
{
	struct statfs fs;

	return fstatfs(fd, &fs) || fs.f_bsize < 0 ? 0 : fs.f_bsize;
}

uint64_t vpipe_head_length(const struct vpipe_move *m)
{
	int64_t block;
	uint64_t head;

	if (vpipe_move_to_socket(m) || !m->out_offset)
		return 0;
	block = head_block(m->out_fd);
	if (!block || m->out_offset % block == 0)
		return 0;
	/* No block of the source would ever be one of the sink. */
	if (m->kind == VPIPE_KIND_FILE_TO_FILE && (m->in_offset - m->out_offset) % block)
		return 0;
	head = (uint64_t)(block - m->out_offset % block);
	return head < m->length ? head : m->length;
}

bool vpipe_head_run(struct vpipe_move *m, uint64_t head, int *error)
{
	uint64_t rest = m->length - head;

	m->length = head;
	*error = vpipe_fallback_run(m);
	m->length += rest;
	return *error || m->length != rest || !rest;
}
