// SPDX-License-Identifier: GPL-2.0
/*
 * chardev.c: /dev/vpipe.  Checks what a program asks for, keeps its handles and
 * operations, and answers; include/uapi/linux/vpipe.h says what it promises.
 */
#include <linux/file.h>
#include <linux/freezer.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/poll.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "vpfront.h"

unsigned int vpfront_max_ops = 4096;
module_param_named(max_ops, vpfront_max_ops, uint, 0644);
MODULE_PARM_DESC(max_ops, "operations that may be open at once on one open file of /dev/vpipe (default 4096)");

#define MAX_HANDLES	65536

/* One open file of /dev/vpipe. */
struct vpfront_context {
	struct mutex handles_lock;	/* serialises handles */
	struct xarray handles;		/* u32 -> struct chardev_handle */
	spinlock_t lock;		/* serialises pipes, their finished flag, nr_pipes */
	struct list_head pipes;
	unsigned int nr_pipes;
	u64 next_id;
	wait_queue_head_t wait;		/* for operations to finish */
	struct rcu_head rcu;		/* vpfront_chardev_finished may be about to wake it */
};

struct chardev_handle {
	u32 kind;
	struct file *in, *out;
};

static atomic64_t ops_done, ops_declined, bytes_moved;

/* --- calls --------------------------------------------------------------------- */

/* Copy in an extensible structure of v0 size `min`, known size `size`. */
static int get_args(void *args, size_t size, size_t min, void __user *user, u32 *user_size)
{
	if (get_user(*user_size, (u32 __user *)user))
		return -EFAULT;
	if (*user_size < min || *user_size > PAGE_SIZE)
		return -EINVAL;
	return copy_struct_from_user(args, size, user, *user_size);
}

static int put_args(const void *args, size_t size, void __user *user, u32 user_size)
{
	return copy_to_user(user, args, min_t(size_t, size, user_size)) ? -EFAULT : 0;
}

static long ioc_info(struct vpfront_context *ctx, void __user *user)
{
	struct vpipe_ioc_info args;
	struct vpfront_device *dev;
	u32 size;
	int ret = get_args(&args, sizeof(args), sizeof(args), user, &size);

	if (ret)
		return ret;
	if (args.flags)
		return -EINVAL;
	args.abi_version = VPIPE_ABI_VERSION;
	args.connected = 0;
	args.kinds = 0;
	dev = vpfront_xenbus_get();
	if (dev) {
		args.connected = 1;
		args.kinds = dev->kinds;
		vpfront_xenbus_put(dev);
	}
	args.max_ops = READ_ONCE(vpfront_max_ops);
	args.ops_done = atomic64_read(&ops_done);
	args.ops_declined = atomic64_read(&ops_declined);
	args.bytes = atomic64_read(&bytes_moved);
	return put_args(&args, sizeof(args), user, size);
}

static void handle_free(struct chardev_handle *handle)
{
	fput(handle->in);
	fput(handle->out);
	kfree(handle);
}

static long ioc_create(struct vpfront_context *ctx, void __user *user)
{
	struct vpipe_ioc_create args;
	struct chardev_handle *handle;
	u32 size;
	int ret = get_args(&args, sizeof(args), sizeof(args), user, &size);

	if (ret)
		return ret;
	if (args.flags || !vpfront_ends_kind_known(args.kind))
		return -EINVAL;
	handle = kzalloc(sizeof(*handle), GFP_KERNEL_ACCOUNT);
	if (!handle)
		return -ENOMEM;
	handle->kind = args.kind;
	ret = vpfront_ends_get(args.kind, args.in_fd, args.out_fd, &handle->in, &handle->out);
	if (ret) {
		kfree(handle);
		return ret;
	}
	if (!vpfront_ends_may_be_held(handle->in, handle->out)) {
		handle_free(handle);
		return -EOPNOTSUPP;
	}
	mutex_lock(&ctx->handles_lock);
	ret = xa_alloc(&ctx->handles, &args.handle, handle, XA_LIMIT(1, MAX_HANDLES), GFP_KERNEL);
	mutex_unlock(&ctx->handles_lock);
	if (ret) {
		handle_free(handle);
		return ret == -EBUSY ? -EMFILE : ret;
	}
	/* A failing copy leaves a handle that the caller cannot know: it dies with the file. */
	return put_args(&args, sizeof(args), user, size);
}

static long ioc_destroy(struct vpfront_context *ctx, void __user *user)
{
	struct vpipe_ioc_destroy args;
	struct chardev_handle *handle;
	u32 size;
	int ret = get_args(&args, sizeof(args), sizeof(args), user, &size);

	if (ret)
		return ret;
	if (args.flags || args.reserved)
		return -EINVAL;
	mutex_lock(&ctx->handles_lock);
	handle = xa_erase(&ctx->handles, args.handle);
	mutex_unlock(&ctx->handles_lock);
	if (!handle)
		return -ENOENT;
	handle_free(handle);
	return 0;
}

static int check_transfer(const struct vpipe_ioc_transfer *args, u32 kind)
{
	bool from_socket = kind == VPIPE_KIND_SOCKET_TO_FILE ||
			   kind == VPIPE_KIND_SOCKET_TO_SOCKET;
	bool to_socket = kind == VPIPE_KIND_FILE_TO_SOCKET ||
			 kind == VPIPE_KIND_SOCKET_TO_SOCKET;

	if (args->in_offset < 0 || args->out_offset < 0 ||
	    (from_socket && args->in_offset) || (to_socket && args->out_offset))
		return -EINVAL;
	if (args->length > S64_MAX || (s64)args->length > S64_MAX - args->in_offset ||
	    (s64)args->length > S64_MAX - args->out_offset)
		return -EOVERFLOW;
	return 0;
}

/* As copy_file_range(2): judged by what is there to be copied. */
static bool ranges_overlap(const struct vpipe_ioc_transfer *args, struct file *in,
			   struct file *out)
{
	return file_inode(in) == file_inode(out) &&
	       args->out_offset < args->in_offset + (s64)args->length &&
	       args->in_offset < args->out_offset + (s64)args->length;
}

/* The files and kind that a transfer names. */
static int transfer_ends(struct vpfront_context *ctx, const struct vpipe_ioc_transfer *args,
			 u32 *kind, struct file **in, struct file **out)
{
	struct chardev_handle *handle;
	int ret = 0;

	if (args->handle == VPIPE_NO_HANDLE) {
		if (!vpfront_ends_kind_known(args->kind))
			return -EINVAL;
		*kind = args->kind;
		return vpfront_ends_get(*kind, args->in_fd, args->out_fd, in, out);
	}
	if (args->kind || args->in_fd != -1 || args->out_fd != -1)
		return -EINVAL;
	mutex_lock(&ctx->handles_lock);
	handle = xa_load(&ctx->handles, args->handle);
	if (handle) {
		*kind = handle->kind;
		*in = get_file(handle->in);
		*out = get_file(handle->out);
	} else {
		ret = -ENOENT;
	}
	mutex_unlock(&ctx->handles_lock);
	return ret;
}

/* Make an operation from the caller's arguments and put it on the context. */
static struct vpfront_pipe *transfer_submit(struct vpfront_context *ctx,
					    struct vpipe_ioc_transfer *args, bool sync)
{
	struct vpfront_pipe *pipe;
	struct file *in, *out;
	loff_t size;
	u32 kind;
	int ret;

	if (args->flags || args->op || memchr_inv(&args->result, 0, sizeof(args->result)))
		return ERR_PTR(-EINVAL);
	ret = transfer_ends(ctx, args, &kind, &in, &out);
	if (ret)
		return ERR_PTR(ret);
	/* The handle's descriptors may have changed their nature since (listen, close). */
	ret = vpfront_ends_check(kind, in, out) ?: check_transfer(args, kind);
	size = i_size_read(file_inode(in));
	if (!ret && S_ISREG(file_inode(in)->i_mode)) {
		if (args->in_offset > size)
			ret = -ENXIO;
		args->length = min_t(u64, args->length, size - args->in_offset);
	}
	if (!ret && kind == VPIPE_KIND_FILE_TO_FILE && ranges_overlap(args, in, out))
		ret = -EINVAL;
	if (!ret && args->length && READ_ONCE(ctx->nr_pipes) >= READ_ONCE(vpfront_max_ops))
		ret = -EAGAIN;
	pipe = ret ? ERR_PTR(ret) :
		     vpfront_pipe_create(kind, in, out, args->in_offset, args->out_offset,
					 args->length);
	if (IS_ERR(pipe)) {
		fput(in);
		fput(out);
		return pipe;
	}
	pipe->user_data = args->user_data;
	pipe->ctx = ctx;
	pipe->sync = sync;
	pipe->by_caller = sync && vpfront_pipe_to_socket(pipe);
	kref_get(&pipe->ref);		/* the context's */
	spin_lock(&ctx->lock);
	pipe->id = ++ctx->next_id;
	list_add_tail(&pipe->node, &ctx->pipes);
	ctx->nr_pipes++;
	spin_unlock(&ctx->lock);
	kref_get(&pipe->ref);		/* the caller's */
	vpfront_pipe_start(pipe);
	return pipe;
}

/* Take an ended operation off the context; false when somebody else was faster. */
static bool transfer_reap(struct vpfront_context *ctx, struct vpfront_pipe *pipe)
{
	bool mine;

	spin_lock(&ctx->lock);
	mine = pipe->ctx == ctx;
	if (mine) {
		list_del_init(&pipe->node);
		ctx->nr_pipes--;
		pipe->ctx = NULL;
	}
	spin_unlock(&ctx->lock);
	if (mine)
		vpfront_pipe_put(pipe);
	return mine;
}

/* An operation ended; its result is final.  Called once for each. */
void vpfront_chardev_finished(struct vpfront_pipe *pipe)
{
	struct vpfront_context *ctx;

	atomic64_inc(&ops_done);
	atomic64_add(pipe->result.moved, &bytes_moved);
	if (pipe->result.status == VPIPE_STATUS_DECLINED && !pipe->result.moved)
		atomic64_inc(&ops_declined);
	smp_store_release(&pipe->finished, true);	/* after the result */
	wake_up_all(&pipe->wait);
	rcu_read_lock();
	ctx = READ_ONCE(pipe->ctx);
	if (ctx)
		wake_up_all(&ctx->wait);
	rcu_read_unlock();
}

static long ioc_submit(struct vpfront_context *ctx, void __user *user)
{
	struct vpipe_ioc_transfer args;
	struct vpfront_pipe *pipe;
	u32 size;
	int ret = get_args(&args, sizeof(args), sizeof(args), user, &size);

	if (ret)
		return ret;
	pipe = transfer_submit(ctx, &args, false);
	if (IS_ERR(pipe))
		return PTR_ERR(pipe);
	args.op = pipe->id;
	ret = put_args(&args, sizeof(args), user, size);
	vpfront_pipe_put(pipe);
	return ret;
}

/*
 * A signal has come to who waits for it: he is told how to ask for its end.  When he dies,
 * it ends by itself, and nobody reaps it.
 */
static long transfer_interrupted(struct vpfront_context *ctx, struct vpfront_pipe *pipe,
				 struct vpipe_ioc_transfer *args, void __user *user, u32 size)
{
	if (fatal_signal_pending(current)) {
		vpfront_pipe_cancel(pipe, true);
		transfer_reap(ctx, pipe);
	} else {
		args->op = pipe->id;
		spin_lock(&ctx->lock);
		pipe->sync = false;
		spin_unlock(&ctx->lock);
	}
	vpfront_pipe_put(pipe);
	return put_args(args, sizeof(*args), user, size) ?: -EINTR;
}

static long ioc_transfer(struct vpfront_context *ctx, void __user *user)
{
	struct vpipe_ioc_transfer args;
	struct vpfront_pipe *pipe;
	u32 size;
	int ret = get_args(&args, sizeof(args), sizeof(args), user, &size);

	if (ret)
		return ret;
	pipe = transfer_submit(ctx, &args, true);
	if (IS_ERR(pipe))
		return PTR_ERR(pipe);
	if (vpfront_pipe_wait(pipe))
		return transfer_interrupted(ctx, pipe, &args, user, size);
	args.op = 0;
	args.result = pipe->result;
	transfer_reap(ctx, pipe);
	vpfront_pipe_put(pipe);
	return put_args(&args, sizeof(args), user, size);
}

/* The operation to reap: the one asked for, or any that ended.  With a reference. */
static struct vpfront_pipe *complete_find(struct vpfront_context *ctx, u64 op, bool *any)
{
	struct vpfront_pipe *pipe, *found = NULL;

	*any = false;
	spin_lock(&ctx->lock);
	list_for_each_entry(pipe, &ctx->pipes, node) {
		if (pipe->sync || (op && pipe->id != op))
			continue;
		*any = true;
		if (smp_load_acquire(&pipe->finished)) {	/* before the result */
			found = pipe;
			kref_get(&pipe->ref);
			break;
		}
	}
	spin_unlock(&ctx->lock);
	return found;
}

static long ioc_complete(struct vpfront_context *ctx, void __user *user)
{
	struct vpipe_ioc_complete args;
	struct vpfront_pipe *pipe;
	bool any;
	u32 size;
	int ret = get_args(&args, sizeof(args), sizeof(args), user, &size);

	if (ret)
		return ret;
	if (args.flags & ~VPIPE_COMPLETE_NOWAIT)
		return -EINVAL;
	do {
		if (args.flags & VPIPE_COMPLETE_NOWAIT) {
			pipe = complete_find(ctx, args.op, &any);
			if (!pipe)
				return any ? -EAGAIN : -ENOENT;
		} else {
			ret = wait_event_freezable(ctx->wait,
						   (pipe = complete_find(ctx, args.op, &any)) ||
						   !any);
			if (ret)
				return -EINTR;
			if (!pipe)
				return -ENOENT;
		}
		args.op = pipe->id;
		args.user_data = pipe->user_data;
		args.result = pipe->result;
		any = transfer_reap(ctx, pipe);
		vpfront_pipe_put(pipe);
	} while (!any);
	return put_args(&args, sizeof(args), user, size);
}

static long ioc_cancel(struct vpfront_context *ctx, void __user *user)
{
	struct vpipe_ioc_cancel args;
	struct vpfront_pipe *pipe;
	bool found = false;
	u32 size;
	int ret = get_args(&args, sizeof(args), sizeof(args), user, &size);

	if (ret)
		return ret;
	if (args.flags)
		return -EINVAL;
	spin_lock(&ctx->lock);
	list_for_each_entry(pipe, &ctx->pipes, node) {
		if (pipe->id == args.op && !pipe->sync) {
			vpfront_pipe_cancel(pipe, false);
			found = true;
			break;
		}
	}
	spin_unlock(&ctx->lock);
	return found ? 0 : -ENOENT;
}

static const struct {
	unsigned int cmd;
	long (*call)(struct vpfront_context *ctx, void __user *user);
} calls[] = {
	{ VPIPE_IOC_INFO, ioc_info },
	{ VPIPE_IOC_CREATE, ioc_create },
	{ VPIPE_IOC_DESTROY, ioc_destroy },
	{ VPIPE_IOC_TRANSFER, ioc_transfer },
	{ VPIPE_IOC_SUBMIT, ioc_submit },
	{ VPIPE_IOC_COMPLETE, ioc_complete },
	{ VPIPE_IOC_CANCEL, ioc_cancel },
};

/* The size in the command number is that of the caller's headers: not compared. */
static long chardev_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(calls); i++)
		if (_IOC_TYPE(cmd) == VPIPE_IOC_MAGIC && _IOC_NR(cmd) == _IOC_NR(calls[i].cmd))
			return calls[i].call(file->private_data, (void __user *)arg);
	return -ENOTTY;
}

static __poll_t chardev_poll(struct file *file, struct poll_table_struct *table)
{
	struct vpfront_context *ctx = file->private_data;
	struct vpfront_pipe *pipe;
	bool any;

	poll_wait(file, &ctx->wait, table);
	pipe = complete_find(ctx, 0, &any);
	if (!pipe)
		return 0;
	vpfront_pipe_put(pipe);
	return EPOLLIN | EPOLLRDNORM;
}

static int chardev_open(struct inode *inode, struct file *file)
{
	struct vpfront_context *ctx = kzalloc(sizeof(*ctx), GFP_KERNEL_ACCOUNT);

	if (!ctx)
		return -ENOMEM;
	mutex_init(&ctx->handles_lock);
	xa_init_flags(&ctx->handles, XA_FLAGS_ALLOC1);
	spin_lock_init(&ctx->lock);
	INIT_LIST_HEAD(&ctx->pipes);
	init_waitqueue_head(&ctx->wait);
	file->private_data = ctx;
	return nonseekable_open(inode, file);
}

/* Operations that still run end by themselves; their sockets come home. */
static int chardev_release(struct inode *inode, struct file *file)
{
	struct vpfront_context *ctx = file->private_data;
	struct chardev_handle *handle;
	struct vpfront_pipe *pipe;
	unsigned long index;

	for (;;) {
		spin_lock(&ctx->lock);
		pipe = list_first_entry_or_null(&ctx->pipes, struct vpfront_pipe, node);
		if (pipe)
			kref_get(&pipe->ref);
		spin_unlock(&ctx->lock);
		if (!pipe)
			break;
		vpfront_pipe_cancel(pipe,
				    fatal_signal_pending(current) || current->flags & PF_EXITING);
		transfer_reap(ctx, pipe);
		vpfront_pipe_put(pipe);
	}
	xa_for_each(&ctx->handles, index, handle)
		handle_free(handle);
	xa_destroy(&ctx->handles);
	kfree_rcu(ctx, rcu);
	return 0;
}

static const struct file_operations chardev_fops = {
	.owner = THIS_MODULE,
	.open = chardev_open,
	.release = chardev_release,
	.unlocked_ioctl = chardev_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
	.poll = chardev_poll,
};

static struct miscdevice chardev = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "vpipe",
	.fops = &chardev_fops,
	.mode = 0666,
};

int vpfront_chardev_init(void)
{
	return misc_register(&chardev);
}

void vpfront_chardev_exit(void)
{
	misc_deregister(&chardev);
}
