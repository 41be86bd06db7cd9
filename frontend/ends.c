// SPDX-License-Identifier: GPL-2.0
/*
 * ends.c: the two ends of a transfer: what a pair of descriptors must be for a kind, as it
 * is told to the caller by an errno; and whether both can be offloaded, which is no error.
 */
#include <linux/file.h>
#include <linux/sched/signal.h>
#include <net/sock.h>

#include "vpfront.h"
#include <vpipe/tcp_carry.h>

/* --- what they must be ---------------------------------------------------------- */

/* 0, or a negative errno. */
static int ends_check_file(struct file *file)
{
	umode_t mode = file_inode(file)->i_mode;

	if (S_ISDIR(mode))
		return -EISDIR;
	if (S_ISFIFO(mode) || S_ISSOCK(mode))
		return -ESPIPE;
	return 0;
}

static int ends_check_socket(struct file *file)
{
	struct socket *socket = sock_from_file(file);
	struct sock *sk;

	if (!socket)
		return -ENOTSOCK;
	sk = socket->sk;
	if (socket->type != SOCK_STREAM)
		return -EPROTOTYPE;
	if (sk->sk_protocol == IPPROTO_TCP &&
	    (sk->sk_family == AF_INET || sk->sk_family == AF_INET6)) {
		int tcp_state = READ_ONCE(sk->sk_state);

		if ((1 << tcp_state) & (TCPF_LISTEN | TCPF_SYN_SENT | TCPF_SYN_RECV) ||
		    (tcp_state == TCP_CLOSE && socket->state == SS_UNCONNECTED))
			return -ENOTCONN;
	}
	return 0;
}

int vpfront_ends_check(u32 kind, struct file *in, struct file *out)
{
	bool from_socket = kind == VPIPE_KIND_SOCKET_TO_FILE ||
			   kind == VPIPE_KIND_SOCKET_TO_SOCKET;
	bool to_socket = kind == VPIPE_KIND_FILE_TO_SOCKET ||
			 kind == VPIPE_KIND_SOCKET_TO_SOCKET;

	if (!(in->f_mode & FMODE_READ) || !(out->f_mode & FMODE_WRITE))
		return -EBADF;
	return (from_socket ? ends_check_socket(in) : ends_check_file(in)) ?:
	       (to_socket ? ends_check_socket(out) : ends_check_file(out));
}

bool vpfront_ends_kind_known(u32 kind)
{
	return kind >= VPIPE_KIND_FILE_TO_SOCKET && kind <= VPIPE_KIND_SOCKET_TO_SOCKET;
}

/* References to both files, or an error. */
int vpfront_ends_get(u32 kind, int in_fd, int out_fd, struct file **in, struct file **out)
{
	int ret = -EBADF;

	*in = fget(in_fd);
	*out = fget(out_fd);
	if (*in && *out)
		ret = vpfront_ends_check(kind, *in, *out);
	if (!ret)
		return 0;
	if (*in)
		fput(*in);
	if (*out)
		fput(*out);
	return ret;
}

/*
 * A handle may outlive the caller's descriptors.  So it holds nothing that could
 * hold, in turn, the open file of /dev/vpipe that it belongs to: such a circle
 * would never be freed.
 */
static bool ends_may_be_held(struct file *file)
{
	struct socket *socket = sock_from_file(file);

	if (socket)
		return socket->sk->sk_family == AF_INET || socket->sk->sk_family == AF_INET6;
	return S_ISREG(file_inode(file)->i_mode) || S_ISBLK(file_inode(file)->i_mode);
}

bool vpfront_ends_may_be_held(struct file *in, struct file *out)
{
	return ends_may_be_held(in) && ends_may_be_held(out);
}

/* --- can they be offloaded? ------------------------------------------------------ */

/* TCP, over what the backend can serve?  0, or an enum vpipe_reason. */
static int ends_offload_socket(struct vpfront_pipe *pipe, struct socket *socket)
{
	struct sock *sk = socket->sk;

	if (socket->type != SOCK_STREAM || sk->sk_protocol != IPPROTO_TCP)
		return VPIPE_REASON_SOCKET_TYPE;
	if (vpipe_tcp_is_ipv6(sk))
		return pipe->dev->ipv6 ? 0 : VPIPE_REASON_SOCKET_TYPE;
	if (sk->sk_family != AF_INET && sk->sk_family != AF_INET6)
		return VPIPE_REASON_SOCKET_TYPE;
	return 0;
}

static int ends_open_sink(struct vpfront_pipe *pipe)
{
	u64 limit = min_t(u64, rlimit(RLIMIT_FSIZE), file_inode(pipe->out)->i_sb->s_maxbytes);
	int ret = vpfront_sink_open(&pipe->sink, pipe->out);
	u32 mask = pipe->sink.file.align - 1;

	if (ret)
		return ret;
	if (pipe->out_pos & mask ||
	    (!vpfront_pipe_from_socket(pipe) && (pipe->pos - pipe->out_pos) & mask) ||
	    pipe->length <= mask)
		return VPIPE_REASON_ALIGNMENT;
	if (pipe->out_pos >= limit)
		return VPIPE_REASON_LIMIT;
	pipe->end = min(pipe->end, pipe->pos + (limit - pipe->out_pos));
	return 0;
}

/* In the caller's context, with its credentials: what can be declined at once is. */
int vpfront_ends_open(struct vpfront_pipe *pipe)
{
	struct socket *in = sock_from_file(pipe->in), *out = sock_from_file(pipe->out);
	int reason = 0;

	pipe->dev = vpfront_xenbus_get();
	if (!pipe->dev)
		return VPIPE_REASON_NO_BACKEND;
	if (!vpfront_pipe_to_socket(pipe))
		atomic_inc(&pipe->dev->to_file);
	if (!(pipe->dev->kinds & 1U << pipe->kind))
		return VPIPE_REASON_KIND;
	if (vpfront_pipe_from_socket(pipe))
		reason = ends_offload_socket(pipe, in);
	else
		reason = vpfront_file_open(pipe->in, &pipe->file, false);
	if (reason)
		return reason;
	return vpfront_pipe_to_socket(pipe) ? ends_offload_socket(pipe, out) : ends_open_sink(pipe);
}
