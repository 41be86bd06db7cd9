/* SPDX-License-Identifier: GPL-2.0 */
/*
 * forge.h: /dev/vpipe-forge, which lets a test program speak the protocol to the
 * real backend, word for word, however wrong.
 */
#ifndef _VPIPE_FORGE_H
#define _VPIPE_FORGE_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define FORGE_POOL_PAGES	32

struct forge_command {
	__u8 request[64];	/* struct xen_vpipe_request; the id is filled in */
	__u64 page_data;	/* user pointer to 4096 bytes for `page`, or 0 */
	__u32 page;		/* < FORGE_POOL_PAGES */
	__u32 timeout_ms;	/* for the response */
	__s32 status;		/* out */
	__u32 value;		/* out */
};

/* The same requests in turn, as fast as the backend answers, for so long or until a signal. */
#define FORGE_FLOOD_REQUESTS	16

struct forge_flood {
	__u8 request[FORGE_FLOOD_REQUESTS][64];
	__u32 nr;		/* of them */
	__u32 ms;
	__u64 answered;		/* out */
	__u64 refused;		/* out: of these, with a status below 0 */
	__s32 first, last;	/* out: the first status below 0, and the last one */
};

/* -ETIMEDOUT: no response came */
#define FORGE_COMMAND	_IOWR(0xb7, 1, struct forge_command)
/* the ring's producer index jumps by this many entries */
#define FORGE_JUMP	_IOW(0xb7, 2, __u32)
/* with the pages of the pool as the commands before have left them */
#define FORGE_FLOOD	_IOWR(0xb7, 3, struct forge_flood)

#endif /* _VPIPE_FORGE_H */
