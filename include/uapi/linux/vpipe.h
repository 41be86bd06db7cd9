/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * vpipe.h: the ioctl interface of /dev/vpipe, the guest side of vPipe.
 *
 * A program opens /dev/vpipe, names a source and a sink, and has the driver
 * domain move the bytes: they never enter this VM.  libvpipe wraps all of it
 * and finishes by ordinary calls whatever cannot be offloaded.
 *
 * Rules of every call
 *   - The first member of each structure is its size as the caller knows it.
 *     A smaller size than the first published one is refused (EINVAL); a larger
 *     one is accepted when the bytes this kernel does not know are zero (E2BIG
 *     otherwise).  Results never write more than the caller's size.
 *   - Unknown flags and non-zero reserved members are refused (EINVAL).
 *   - The layout is the same for 32 and 64 bit callers.
 *   - Handles and operations belong to the open file of /dev/vpipe on which they
 *     were made, are unknown on any other (ENOENT) and die with it.  A child that
 *     inherits the open file shares them.
 *   - No call raises a signal: EPIPE comes without SIGPIPE.
 *   - A bad argument is an errno of ioctl(2), and nothing has moved.  "This can
 *     not be offloaded" is not an error: the call succeeds with the status
 *     VPIPE_STATUS_DECLINED, a reason, and the count moved so far (usually 0);
 *     the caller continues from there with read/write, sendfile or splice.
 */
#ifndef _UAPI_LINUX_VPIPE_H
#define _UAPI_LINUX_VPIPE_H

#include <linux/types.h>
#include <linux/ioctl.h>

#define VPIPE_ABI_VERSION	1

/* The device node that the frontend module creates. */
#define VPIPE_DEVICE		"/dev/vpipe"

/* What is moved (vPipe, SoCC'14, Table 1). */
enum vpipe_kind {
	VPIPE_KIND_FILE_TO_SOCKET = 1,
	VPIPE_KIND_SOCKET_TO_FILE = 2,
	VPIPE_KIND_FILE_TO_FILE = 3,
	VPIPE_KIND_SOCKET_TO_SOCKET = 4,
};

/* How an operation ended. */
enum vpipe_status {
	/* All that was asked for, or all up to end of file, was moved. */
	VPIPE_STATUS_DONE = 0,
	/*
	 * `moved` bytes were moved; the rest cannot be offloaded: see `reason`.  `error`
	 * is 0, or EBUSY with VPIPE_REASON_BUSY when a socket is already in use by an
	 * operation (also by this one: both ends are the same).
	 */
	VPIPE_STATUS_DECLINED = 1,
	/* `moved` bytes were moved, then `error` (a positive errno) happened. */
	VPIPE_STATUS_FAILED = 2,
};

/* Why an operation was declined. */
enum vpipe_reason {
	VPIPE_REASON_NONE = 0,
	VPIPE_REASON_NO_BACKEND = 1,	/* no driver domain attached, or it is leaving */
	VPIPE_REASON_KIND = 2,		/* this kind of pipe is not offloaded (yet) */
	VPIPE_REASON_FILE_TYPE = 3,	/* encrypted, verity, DAX, swap file ... */
	VPIPE_REASON_FILESYSTEM = 4,	/* its data cannot be mapped to disk blocks */
	VPIPE_REASON_DISK = 5,		/* not (directly) on a Xen virtual disk */
	VPIPE_REASON_SOCKET_TYPE = 6,	/* not TCP, or MPTCP, kTLS, sockmap, MD5 ... */
	VPIPE_REASON_SOCKET_STATE = 7,	/* urgent data, repair mode, a write under way ... */
	VPIPE_REASON_ROUTE = 8,		/* not by a Xen virtual interface, or not any more */
	VPIPE_REASON_BUSY = 9,		/* a socket is in use, or a limit is reached */
	VPIPE_REASON_REFUSED = 10,	/* the driver domain said no */
	VPIPE_REASON_CONTENDED = 11,	/* somebody else waits to write the file */
	VPIPE_REASON_ALIGNMENT = 12,	/* no whole block of the sink's file: see TRANSFER */
	VPIPE_REASON_LIMIT = 13,	/* the file may not grow further: a write says why */
	VPIPE_REASON_MAX
};

/* The handle that means: in_fd and out_fd are given with the call. */
#define VPIPE_NO_HANDLE		0

/*
 * VPIPE_IOC_INFO: what is here.  Never blocks.
 */
struct vpipe_ioc_info {
	__u32 size;		/* in */
	__u32 flags;		/* in: 0 */
	__u32 abi_version;	/* out: VPIPE_ABI_VERSION */
	__u32 connected;	/* out: 1 while a driver domain serves this VM */
	__u32 kinds;		/* out: bit (1 << kind) for each offloaded kind */
	__u32 max_ops;		/* out: operations that may be open at once */
	__u64 ops_done;		/* out: operations ended since the module was loaded */
	__u64 ops_declined;	/* out: of them, declined with nothing moved */
	__u64 bytes;		/* out: bytes moved by the driver domain */
};

/*
 * VPIPE_IOC_CREATE: make a handle for a pair of descriptors.  The handle holds a
 * reference to both open files, so that closing the descriptors does not end it.
 * Never blocks.
 *   EBADF    a descriptor is closed, in_fd is not open for reading or out_fd not
 *            for writing
 *   EINVAL   unknown kind, flags
 *   EISDIR   a directory where a file is needed
 *   ESPIPE   a pipe or FIFO where a file is needed
 *   ENOTSOCK not a socket where a socket is needed
 *   EPROTOTYPE a datagram or raw socket
 *   ENOTCONN a socket that is listening or not connected
 *   EMFILE   too many handles on this open file
 *   EOPNOTSUPP a handle cannot hold such an end (an AF_UNIX socket, a character device)
 */
struct vpipe_ioc_create {
	__u32 size;		/* in */
	__u32 flags;		/* in: 0 */
	__u32 kind;		/* in: enum vpipe_kind */
	__s32 in_fd;		/* in */
	__s32 out_fd;		/* in */
	__u32 handle;		/* out: never VPIPE_NO_HANDLE */
};

/*
 * VPIPE_IOC_DESTROY: drop a handle.  Operations that run on it go on and keep
 * their own references.  Never blocks.  ENOENT: no such handle here.
 */
struct vpipe_ioc_destroy {
	__u32 size;		/* in */
	__u32 flags;		/* in: 0 */
	__u32 handle;		/* in */
	__u32 reserved;		/* in: 0 */
};

/*
 * The outcome of an operation, in VPIPE_IOC_TRANSFER and VPIPE_IOC_COMPLETE.
 */
struct vpipe_result {
	__u64 moved;		/* bytes taken from the source and given to the sink */
	__u32 status;		/* enum vpipe_status */
	__u32 reason;		/* enum vpipe_reason, when declined */
	__u32 error;		/* positive errno, when failed; or see VPIPE_STATUS_DECLINED */
	__u32 reserved;
};

/*
 * VPIPE_IOC_SUBMIT: start an operation and return.
 * VPIPE_IOC_TRANSFER: the same, then wait for its end and reap it.  When a signal comes
 * first it is as after VPIPE_IOC_SUBMIT: `op` is set, and VPIPE_IOC_COMPLETE waits on.
 *
 * Descriptors come from `handle`, or from in_fd/out_fd and `kind` when handle is
 * VPIPE_NO_HANDLE (errors as for VPIPE_IOC_CREATE).
 * in_offset and out_offset are byte offsets in a file end and must be 0 for a
 * socket end.  The file position of the descriptors is neither used nor moved.
 * The end of the source (of its file, or of the stream) ends the operation: fewer
 * bytes than `length` are DONE.  A length of 0 moves nothing.  Of a source socket,
 * the bytes that did not move are still there for the next read.
 *
 * An operation to a socket ends when the driver domain's socket has taken the last
 * byte, as sendfile(2) does; the peer need not have acknowledged it.  While an operation
 * has a socket, other calls on that wait, or fail with EAGAIN, and a second operation is
 * DECLINED with VPIPE_REASON_BUSY.  After one that has moved all of `length` (or of the
 * file), the connection stays with the driver domain for the next operation, until a call
 * on the socket wants it (which waits, also when it is not to block, for as long as the
 * driver domain takes to answer), something has come that somebody waits for, or nothing
 * has happened for a while (idle_ms of the module).  After any other end it is back in
 * the guest when the operation can be reaped, unless its process is gone; one that is
 * declined at once leaves it where it is.
 *
 * To a file only whole blocks are moved, of the size that statfs(2) calls f_bsize.
 * DECLINED with VPIPE_REASON_ALIGNMENT are
 *   - an out_offset that is not a multiple of it, and in_offset and out_offset that
 *     differ by part of a block: at once, with nothing moved;
 *   - what is left when it is less than a block, be it by `length`, by the end of the
 *     source file, or by the end of the stream.
 * What RLIMIT_FSIZE, the filesystem's largest size, a quota or a full disk do not
 * allow is DECLINED with VPIPE_REASON_LIMIT (or ALIGNMENT when less than a block fits):
 * the ordinary write moves what still fits and gives the errno.  So it is when the sink
 * cannot be written otherwise (FILESYSTEM), or just now (CONTENDED: its range is in
 * use, or it is frozen); and O_APPEND is a FILE_TYPE.  Only when data has left the
 * source and the filesystem then failed is it FAILED.  Holes of a source file are
 * zeros that are written.  With O_SYNC or O_DSYNC on the sink, what has moved is on
 * the disk when the operation ends.
 *
 *   ENOENT    no such handle here
 *   EINVAL    a negative offset, flags, an offset for a socket, overlapping ranges
 *             of one file
 *   EOVERFLOW offset + length does not fit a file offset
 *   ENXIO     the offset lies behind the end of the source file
 *   EAGAIN    more operations open than allowed
 *   EINTR     (TRANSFER) a signal came first (the operation goes on)
 */
struct vpipe_ioc_transfer {
	__u32 size;		/* in */
	__u32 flags;		/* in: 0 */
	__u32 handle;		/* in */
	__u32 kind;		/* in: with VPIPE_NO_HANDLE, else 0 */
	__s32 in_fd;		/* in: with VPIPE_NO_HANDLE, else -1 */
	__s32 out_fd;		/* in: with VPIPE_NO_HANDLE, else -1 */
	__s64 in_offset;	/* in: bytes */
	__s64 out_offset;	/* in: bytes */
	__u64 length;		/* in: bytes */
	__u64 user_data;	/* in: comes back with the completion */
	__u64 op;		/* in: 0; out: the operation's number, or 0 when it was reaped */
	struct vpipe_result result; /* out (TRANSFER) */
};

/*
 * VPIPE_IOC_COMPLETE: reap one ended operation; each is reaped once.
 * poll(2) on /dev/vpipe says POLLIN while one can be reaped without waiting.
 *   EAGAIN  VPIPE_COMPLETE_NOWAIT and none (or not this one) has ended
 *   ENOENT  `op` is not open here; or op is 0 and no operation is open
 *   EINTR   a signal came first (the operation goes on)
 */
#define VPIPE_COMPLETE_NOWAIT	(1U << 0)
struct vpipe_ioc_complete {
	__u32 size;		/* in */
	__u32 flags;		/* in: VPIPE_COMPLETE_* */
	__u64 op;		/* in: 0 = whichever ends first; out: which it was */
	__u64 user_data;	/* out */
	struct vpipe_result result; /* out */
};

/*
 * VPIPE_IOC_CANCEL: ask an operation to end early.  Returns at once; the operation
 * is reaped as any other, with FAILED/ECANCELED and an exact count, or DONE when
 * it was faster.  What was moved into a socket is still sent.  An operation whose
 * process dies ends as well, and its sockets are closed as any others.
 * ENOENT: not open here.
 */
struct vpipe_ioc_cancel {
	__u32 size;		/* in */
	__u32 flags;		/* in: 0 */
	__u64 op;		/* in */
};

#define VPIPE_IOC_MAGIC		0xb6
#define VPIPE_IOC_INFO		_IOWR(VPIPE_IOC_MAGIC, 1, struct vpipe_ioc_info)
#define VPIPE_IOC_CREATE	_IOWR(VPIPE_IOC_MAGIC, 2, struct vpipe_ioc_create)
#define VPIPE_IOC_DESTROY	_IOWR(VPIPE_IOC_MAGIC, 3, struct vpipe_ioc_destroy)
#define VPIPE_IOC_TRANSFER	_IOWR(VPIPE_IOC_MAGIC, 4, struct vpipe_ioc_transfer)
#define VPIPE_IOC_SUBMIT	_IOWR(VPIPE_IOC_MAGIC, 5, struct vpipe_ioc_transfer)
#define VPIPE_IOC_COMPLETE	_IOWR(VPIPE_IOC_MAGIC, 6, struct vpipe_ioc_complete)
#define VPIPE_IOC_CANCEL	_IOWR(VPIPE_IOC_MAGIC, 7, struct vpipe_ioc_cancel)

#endif /* _UAPI_LINUX_VPIPE_H */
