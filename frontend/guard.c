// SPDX-License-Identifier: GPL-2.0
/*
 * guard.c: while the driver domain has a connection, the program's socket is an
 * empty shell.  Its proto_ops point here: who touches it has it brought home (flow.c),
 * waits (interruptible, freezable) until it is there, and then does what he wanted.  While
 * an operation has it, callers that must not wait get EAGAIN, and poll says that nothing
 * is ready; otherwise the wait is as short as one for a lock, and all wait.
 *
 * proto_ops may be changed at run time: net/socket.c reads sock->ops once per call
 * (include/linux/net.h).  The tables are static, so a caller that has just read the
 * pointer can never follow it into freed memory.
 *
 * A socket of IPv6 may have a connection of IPv4 (RFC 4291, 2.5.5.2), as that of a
 * server which listens for both; its proto_ops and its proto are IPv6's all the same.
 */
#include <linux/freezer.h>
#include <linux/module.h>
#include <linux/poll.h>
#include <linux/sched/signal.h>
#include <linux/splice.h>
#include <net/sock.h>

#include "vpfront.h"

/* What a TCP socket has of its family, and what we put there.  Set once, at init. */
static struct guard_family {
	const struct proto_ops *ops;	/* NULL: the kernel has not got the family */
	const struct proto *prot;
	struct proto_ops guard;
} guard_family[2];

static DECLARE_WAIT_QUEUE_HEAD(guard_wait);

/* The family whose guard the socket has, or NULL. */
static struct guard_family *guarded(struct socket *socket)
{
	const struct proto_ops *ops = READ_ONCE(socket->ops);
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(guard_family); i++)
		if (ops == &guard_family[i].guard)
			return &guard_family[i];
	return NULL;
}

/*
 * 0 when the socket is back, or why the caller must go.  With 0 a reference to this
 * module is held: the call that follows returns through it.
 */
static int guard_enter(struct socket *socket, bool nonblock)
{
	if (guarded(socket) && !vpfront_flow_want(socket->sk) && nonblock)
		return -EAGAIN;
	__module_get(THIS_MODULE);
	if (!wait_event_state(guard_wait, !guarded(socket), (TASK_INTERRUPTIBLE | TASK_FREEZABLE)))
		return 0;
	module_put(THIS_MODULE);
	return -ERESTARTSYS;	/* nothing has been done: it begins anew, as signal(7) says */
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
	__poll_t events = 0;

	sock_poll_wait(file, socket, wait);
	if (!guard_enter(socket, true)) {
		/* The real one must not register a second time. */
		events = READ_ONCE(socket->ops)->poll(file, socket, NULL);
		module_put(THIS_MODULE);
	}
	return events;
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
	struct guard_family *family = guarded(socket);

	return family ? family->ops->getname(socket, addr, peer ? 2 : 0) :
			READ_ONCE(socket->ops)->getname(socket, addr, peer);
}

/*
 * The last descriptor is closed.  Unless the program wants to linger, it does not wait:
 * another socket carries on what is left of the connection.
 */
static int guard_release(struct socket *socket)
{
	struct sock *sk = socket->sk;
	int ret = 0;

	__module_get(THIS_MODULE);
	if (guarded(socket) && sock_flag(sk, SOCK_LINGER) && sk->sk_lingertime &&
	    !(current->flags & (PF_EXITING | PF_KTHREAD))) {
		vpfront_flow_want(sk);
		wait_event_state(guard_wait, !guarded(socket), (TASK_KILLABLE | TASK_FREEZABLE));
	}
	if (!guarded(socket) || !vpfront_flow_close(socket)) {
		/* There is no memory for that, or it has just come home. */
		vpfront_flow_want(sk);
		wait_event(guard_wait, !guarded(socket));
		ret = READ_ONCE(socket->ops)->release(socket);
	}
	module_put(THIS_MODULE);
	return ret;
}

static int guard_connect(struct socket *socket, struct sockaddr *addr, int len, int flags)
{
	return GUARDED(socket, flags & O_NONBLOCK, connect(socket, addr, len, flags));
}

/*
 * Put the guard there.  False: what the socket has is not TCP's own, but another
 * layer's (kTLS, sockmap), and is not ours to replace.  Socket locked.
 */
bool vpfront_guard_set(struct socket *socket)
{
	const struct proto_ops *ops = READ_ONCE(socket->ops);
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(guard_family); i++) {
		struct guard_family *family = &guard_family[i];

		if (ops == family->ops && socket->sk->sk_prot == family->prot) {
			WRITE_ONCE(socket->ops, &family->guard);
			return true;
		}
	}
	return false;
}

/* It is still there, and what is below as well.  Socket locked. */
bool vpfront_guard_stands(struct socket *socket)
{
	struct guard_family *family = guarded(socket);

	return family && socket->sk->sk_prot == family->prot;
}

/* The socket is whole again.  Socket locked. */
void vpfront_guard_clear(struct socket *socket)
{
	struct guard_family *family = guarded(socket);

	if (family)
		WRITE_ONCE(socket->ops, family->ops);
	wake_up_all(&guard_wait);
}

/* By a socket of the family: modules cannot name what IPv6 has. */
static int guard_family_init(struct guard_family *family, int pf)
{
	struct socket *socket;
	int ret;

	ret = sock_create_kern(&init_net, pf, SOCK_STREAM, IPPROTO_TCP, &socket);
	if (ret)
		return ret;
	family->ops = socket->ops;
	family->prot = socket->sk->sk_prot;
	sock_release(socket);

	family->guard = *family->ops;
	family->guard.release = guard_release;
	family->guard.sendmsg = guard_sendmsg;
	vpipe_compat_no_sendpage(&family->guard);
	family->guard.recvmsg = guard_recvmsg;
	family->guard.splice_read = guard_splice_read;
	family->guard.poll = guard_poll;
	family->guard.shutdown = guard_shutdown;
	family->guard.setsockopt = guard_setsockopt;
	family->guard.getsockopt = guard_getsockopt;
	family->guard.ioctl = guard_ioctl;
	family->guard.connect = guard_connect;
	family->guard.getname = guard_getname;
	return 0;
}

int vpfront_guard_init(void)
{
	int ret = guard_family_init(&guard_family[0], AF_INET);

	/* IPv6 may be switched off, and IPv4 goes on. */
	if (!ret && guard_family_init(&guard_family[1], AF_INET6))
		guard_family[1].ops = NULL;
	return ret;
}
