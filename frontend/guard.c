// SPDX-License-Identifier: GPL-2.0
/*
 * guard.c: while the driver domain has a connection, the program's socket is an
 * empty shell.  Its proto_ops point here: callers wait (killable, freezable) until
 * it is back and then do what they wanted; callers that must not wait get EAGAIN,
 * and poll says that nothing is ready.
 *
 * proto_ops may be changed at run time: net/socket.c reads sock->ops once per call
 * (include/linux/net.h).  The table is static, so a caller that has just read the
 * pointer can never follow it into freed memory.
 */
#include <linux/freezer.h>
#include <linux/module.h>
#include <linux/poll.h>
#include <linux/sched/signal.h>
#include <linux/splice.h>
#include <net/inet_common.h>
#include <net/sock.h>
#include <net/tcp.h>

#include "vpfront.h"

static struct proto_ops guard_ops;
static DECLARE_WAIT_QUEUE_HEAD(guard_wait);

static bool guarded(struct socket *socket)
{
	return READ_ONCE(socket->ops) == &guard_ops;
}

/*
 * 0 when the socket is back, or why the caller must go.  With 0 a reference to this
 * module is held: the call that follows returns through it.
 */
static int guard_enter(struct socket *socket, bool nonblock)
{
	if (guarded(socket) && nonblock)
		return -EAGAIN;
	__module_get(THIS_MODULE);
	/* Killable: a signal handler has to wait, as behind a long sendfile. */
	if (!wait_event_state(guard_wait, !guarded(socket), (TASK_KILLABLE | TASK_FREEZABLE)))
		return 0;
	module_put(THIS_MODULE);
	return -EINTR;
}

/* The call of the real socket's that the guard has held up. */
#define GUARDED(socket, nonblock, call) ({					\
	typeof(READ_ONCE((socket)->ops)->call) _ret;				\
										\
	_ret = guard_enter(socket, nonblock);					\
	if (!_ret) {								\
		_ret = READ_ONCE((socket)->ops)->call;				\
		module_put(THIS_MODULE);					\
	}									\
	_ret;									\
})

static bool file_nonblock(struct socket *socket)
{
	return socket->file && (READ_ONCE(socket->file->f_flags) & O_NONBLOCK);
}

static int guard_sendmsg(struct socket *socket, struct msghdr *msg, size_t len)
{
	return GUARDED(socket, msg->msg_flags & MSG_DONTWAIT, sendmsg(socket, msg, len));
}

static int guard_recvmsg(struct socket *socket, struct msghdr *msg, size_t len, int flags)
{
	return GUARDED(socket, flags & MSG_DONTWAIT, recvmsg(socket, msg, len, flags));
}

static ssize_t guard_splice_read(struct socket *socket, loff_t *pos,
				 struct pipe_inode_info *pipe, size_t len, unsigned int flags)
{
	return GUARDED(socket, file_nonblock(socket) || (flags & SPLICE_F_NONBLOCK),
		       splice_read(socket, pos, pipe, len, flags));
}

static __poll_t guard_poll(struct file *file, struct socket *socket,
			   struct poll_table_struct *wait)
{
	sock_poll_wait(file, socket, wait);
	if (!guarded(socket))
		return READ_ONCE(socket->ops)->poll(file, socket, wait);
	return 0;
}

static int guard_shutdown(struct socket *socket, int how)
{
	return GUARDED(socket, false, shutdown(socket, how));
}

static int guard_setsockopt(struct socket *socket, int level, int name, sockptr_t val,
			    unsigned int len)
{
	return GUARDED(socket, false, setsockopt(socket, level, name, val, len));
}

static int guard_getsockopt(struct socket *socket, int level, int name, char __user *val,
			    int __user *len)
{
	return GUARDED(socket, false, getsockopt(socket, level, name, val, len));
}

static int guard_ioctl(struct socket *socket, unsigned int cmd, unsigned long arg)
{
	return GUARDED(socket, false, ioctl(socket, cmd, arg));
}

/* Both addresses are still there; TCP_CLOSE would hide the peer's (1), 2 does not ask. */
static int guard_getname(struct socket *socket, struct sockaddr *addr, int peer)
{
	return inet_getname(socket, addr, guarded(socket) && peer ? 2 : peer);
}

static int guard_connect(struct socket *socket, struct sockaddr *addr, int len, int flags)
{
	return GUARDED(socket, flags & O_NONBLOCK, connect(socket, addr, len, flags));
}

/* Another layer may have put its own ops there already: not ours to replace. */
bool vpfront_guard_possible(struct socket *socket)
{
	return READ_ONCE(socket->ops) == &inet_stream_ops;
}

/* Socket locked. */
void vpfront_guard_set(struct socket *socket)
{
	WRITE_ONCE(socket->ops, &guard_ops);
}

/* The socket is whole again.  Socket locked. */
void vpfront_guard_clear(struct socket *socket)
{
	WRITE_ONCE(socket->ops, &inet_stream_ops);
	wake_up_all(&guard_wait);
}

void vpfront_guard_init(void)
{
	guard_ops = inet_stream_ops;
	guard_ops.sendmsg = guard_sendmsg;
	vpipe_compat_no_sendpage(&guard_ops);
	guard_ops.recvmsg = guard_recvmsg;
	guard_ops.splice_read = guard_splice_read;
	guard_ops.poll = guard_poll;
	guard_ops.shutdown = guard_shutdown;
	guard_ops.setsockopt = guard_setsockopt;
	guard_ops.getsockopt = guard_getsockopt;
	guard_ops.ioctl = guard_ioctl;
	guard_ops.connect = guard_connect;
	guard_ops.getname = guard_getname;
}
