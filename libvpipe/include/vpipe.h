/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * vpipe.h: move bytes between files and sockets by the driver domain.
 *
 * In a Xen guest with the vPipe driver, the bytes of a transfer go from disk to
 * network (or between any two of them) in the driver domain and never enter the
 * guest.  Whatever cannot be moved like that - no driver, a file system or a socket
 * it cannot handle, a driver domain that leaves half way - is moved by sendfile(2),
 * copy_file_range(2), recv(2), send(2), pread(2) and pwrite(2), from exactly the
 * byte where the driver domain stopped.  The caller sees no difference but the
 * speed; vpipe_last_result() tells which way was taken.
 *
 *	vpipe_t *vp = vpipe_create(file, sock);
 *	int64_t n = vpipe_file_to_socket(vp, 0, INT64_MAX);	// to end of file
 *	vpipe_destroy(vp);
 * or
 *	int64_t n = vpipe_file_to_socket_fd(file, sock, 0, INT64_MAX);
 *
 * Units        Offsets and lengths are bytes.  Offsets are absolute; the file
 *              position of the descriptors is neither used nor moved.
 * Blocking     Each transfer blocks until all is moved, the source ends or an error
 *              occurs, also when a descriptor is O_NONBLOCK.  On descriptors that
 *              are not O_NONBLOCK the ordinary way obeys SO_RCVTIMEO, SO_SNDTIMEO.
 * Results      As write(2): the bytes moved, less than asked for when the source
 *              ended or an error came after some bytes; -1 and errno when an error
 *              came before the first one.  Bytes moved to a socket are in its send
 *              buffer, or in one of the driver domain, as after send(2).
 * Sockets      While the driver domain moves bytes, other calls on the sockets wait, or
 *              fail with EAGAIN where they must not.  After one that moved all it was asked
 *              for, the driver domain may keep a connection for the next: any other
 *              call on the socket (but those of SOL_SOCKET, and for the addresses)
 *              brings it back first, and so does input that somebody waits for.
 *              close(2) does not wait.
 * Exactness    The count is exact.  Bytes that were not delivered to the sink are
 *              not taken from a source socket: the next read returns them.  Nobody
 *              else may read a source socket while a transfer runs on it.
 * Threads      All functions may be called from any thread, and threads may share a
 *              handle.  Destroying a handle in use is an error of the caller.
 *              No function is a cancellation point.
 * Sink files   Written from the offset on, in place; nothing is truncated.  Holes of a
 *              source file read as zeros, and those are written.  The driver domain
 *              moves whole blocks; a part of one, at the beginning or the end, goes
 *              the ordinary way.
 * Signals      A signal that is not fatal does not end a transfer.  A sink socket
 *              that is shut raises SIGPIPE, as sendfile(2) does, and a sink file
 *              beyond RLIMIT_FSIZE SIGXFSZ.  Masks and handlers are left alone.
 * fork, exec   A child shares the handles it inherits, and destroying one there
 *              leaves the parent's alone.  Descriptors are close-on-exec.  There is
 *              no process-wide state.
 * Linking      -lvpipe, or pkg-config libvpipe.
 */
#ifndef VPIPE_H
#define VPIPE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#pragma GCC visibility push(default)

/* A source and a sink, held open. */
typedef struct vpipe vpipe_t;

/*
 * Make a handle for transfers from in_fd to out_fd; the call chooses their kind.
 * The handle keeps its own references to both open files: the caller may close the
 * descriptors, and a connection ends only when the handle is destroyed as well.  It
 * costs three descriptors and pays off when a pair is used more than once.  It looks
 * for the driver once: made without one, it stays on the ordinary way.
 *
 * Returns a handle that the caller must give to vpipe_destroy(), or NULL and errno:
 *   EBADF    a descriptor is closed, in_fd is not open for reading or out_fd not
 *            for writing
 *   EMFILE   too many open descriptors
 *   ENOMEM   no memory
 */
vpipe_t *vpipe_create(int in_fd, int out_fd);

/*
 * Free a handle; NULL is ignored.  Returns 0, or -1 and the errno of close(2) (a
 * network file system reports a failed write there); the handle is gone either way.
 */
int vpipe_destroy(vpipe_t *vp);

/*
 * The transfers.  `length` counts from the offsets; INT64_MAX - offset means "to the
 * end of the source".  A socket source is read until `length` bytes have come or its
 * peer has shut it down.  A length of 0 returns 0 after the checks below.
 *
 * All of them return the bytes moved, or -1 and errno: any errno of the calls named
 * above, and, before anything moves,
 *   EINVAL     vp is NULL; a negative offset; a sink file that is O_APPEND; a source
 *              socket with SO_PEEK_OFF; ranges of one file that overlap
 *   EBADF      as for vpipe_create()
 *   EISDIR     a directory where a file is needed
 *   ESPIPE     a pipe, FIFO or socket where a file is needed
 *   ENOTSOCK   something else where a socket is needed
 *   EPROTOTYPE a socket that is not SOCK_STREAM
 *   ENOTCONN   a socket that is listening or not connected
 *   EOVERFLOW  offset + length does not fit int64_t
 *   ENXIO      the offset lies behind the end of a regular source file
 *              (an offset just at its end returns 0)
 */
int64_t vpipe_file_to_socket(vpipe_t *vp, int64_t offset, uint64_t length);
int64_t vpipe_socket_to_file(vpipe_t *vp, int64_t offset, uint64_t length);
int64_t vpipe_file_to_file(vpipe_t *vp, int64_t in_offset, uint64_t length,
			   int64_t out_offset);
int64_t vpipe_socket_to_socket(vpipe_t *vp, uint64_t length);

/*
 * The same without a handle.  The descriptors must stay open during the call.  The
 * driver is looked for at each call.
 */
int64_t vpipe_file_to_socket_fd(int in_fd, int out_fd, int64_t offset,
				uint64_t length);
int64_t vpipe_socket_to_file_fd(int in_fd, int out_fd, int64_t offset,
				uint64_t length);
int64_t vpipe_file_to_file_fd(int in_fd, int out_fd, int64_t in_offset,
			      uint64_t length, int64_t out_offset);
int64_t vpipe_socket_to_socket_fd(int in_fd, int out_fd, uint64_t length);

/*
 * Why the driver domain did not move all of a transfer.  A newer driver may give
 * numbers that are not listed here.
 *
 * Into a file the driver domain moves whole blocks of it.  So what lies before the
 * first boundary of a block and behind the last one goes the ordinary way, and
 * VPIPE_DECLINED_ALIGNMENT stands also for a transfer of which only that did: whether
 * it was offloaded is told by the counts, not by the reason.
 */
enum vpipe_declined {
	VPIPE_DECLINED_NOT = 0,		/* no byte went the ordinary way */
	VPIPE_DECLINED_NO_BACKEND = 1,	/* no driver domain attached, or it is leaving */
	VPIPE_DECLINED_KIND = 2,	/* this kind of transfer is not offloaded */
	VPIPE_DECLINED_FILE_TYPE = 3,	/* encrypted, verity, DAX, swap file ... */
	VPIPE_DECLINED_FILESYSTEM = 4,	/* its data cannot be mapped to disk blocks */
	VPIPE_DECLINED_DISK = 5,	/* not (directly) on a Xen virtual disk */
	VPIPE_DECLINED_SOCKET_TYPE = 6,	/* not TCP, or MPTCP, kTLS, sockmap, MD5 ... */
	VPIPE_DECLINED_SOCKET_STATE = 7, /* urgent data, repair mode, a write under way */
	VPIPE_DECLINED_ROUTE = 8,	/* not by a Xen virtual interface, or not any more */
	VPIPE_DECLINED_BUSY = 9,	/* a socket is in use, or a limit is reached */
	VPIPE_DECLINED_REFUSED = 10,	/* the driver domain said no */
	VPIPE_DECLINED_CONTENDED = 11,	/* somebody else waits to write the file */
	VPIPE_DECLINED_ALIGNMENT = 12,	/* part of a block of the sink's file */
	VPIPE_DECLINED_LIMIT = 13,	/* the sink's file may not grow further */
	VPIPE_DECLINED_NO_DEVICE = 65536, /* /dev/vpipe does not open or not answer */
};

/* How a transfer went. */
struct vpipe_transfer_info {
	uint64_t offloaded;	/* bytes moved by the driver domain */
	uint64_t ordinary;	/* bytes moved before and after that by ordinary calls */
	uint32_t reason;	/* enum vpipe_declined */
	int32_t error;		/* errno that ended the transfer, also after some bytes; or 0 */
	/*
	 * errno of /dev/vpipe, with VPIPE_DECLINED_NO_DEVICE; EBUSY with VPIPE_DECLINED_BUSY
	 * when another transfer had the socket (or this one, as its other end); or 0.
	 */
	int32_t device_error;
	uint32_t reserved;	/* 0 */
};

/*
 * How the last transfer of the calling thread went, with or without a handle (all 0
 * before the first).  `size` is sizeof(*info) as the caller knows it: no more is
 * written, and what this library does not know is set to 0.  Always succeeds.
 */
void vpipe_last_result(struct vpipe_transfer_info *info, size_t size);

/* A short English text for a reason; static, never NULL. */
const char *vpipe_reason_string(unsigned int reason);

/* Kinds of transfer, as a set. */
#define VPIPE_CAN_FILE_TO_SOCKET	(1U << 1)
#define VPIPE_CAN_SOCKET_TO_FILE	(1U << 2)
#define VPIPE_CAN_FILE_TO_FILE		(1U << 3)
#define VPIPE_CAN_SOCKET_TO_SOCKET	(1U << 4)

/* The driver, and what it has done since it was loaded. */
struct vpipe_info {
	uint32_t abi_version;	/* of /dev/vpipe */
	uint32_t connected;	/* 1 while a driver domain serves this guest */
	uint32_t kinds;		/* VPIPE_CAN_* */
	uint32_t max_ops;	/* transfers that may run at once */
	uint64_t ops_done;	/* transfers ended */
	uint64_t ops_declined;	/* of them, declined with nothing moved */
	uint64_t bytes;		/* bytes moved by the driver domain */
};

/*
 * Ask the driver; `size` as for vpipe_last_result().  Never waits for the driver
 * domain.  Returns 0, or -1 and the errno of open(2) or ioctl(2): ENOENT where there
 * is no driver, EACCES where the caller may not use it, ENOTTY where /dev/vpipe is
 * something else.
 */
int vpipe_info(struct vpipe_info *info, size_t size);

/*
 * The kinds (VPIPE_CAN_*) that a driver domain would move at this moment; 0 where
 * there is none.  A hint: a particular file or socket may still be declined.
 */
unsigned int vpipe_available(void);

#pragma GCC visibility pop

#ifdef __cplusplus
}
#endif

#endif /* VPIPE_H */
