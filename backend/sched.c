// SPDX-License-Identifier: GPL-2.0
/*
 * sched.c: the threads of one domain and what they run.  A flow is a task: kicked
 * when a bio ended, its socket turned writable, or it got something to do; it runs
 * on one of a bounded number of threads, moves a bounded number of bytes, and goes
 * to the end of the line when there is more.  So a domain has as many threads with
 * one flow as with thousands.
 */
#include <linux/sched.h>
#include <linux/slab.h>

#include "vpback.h"

#define MAX_THREADS	8U
#define SCHED_NICE	10

struct vpback_sched {
	spinlock_t lock;		/* serialises the line and the tasks' flags */
	struct list_head line;
	wait_queue_head_t work;		/* threads, for the line to fill */
	wait_queue_head_t idle;		/* _retire and _flush, for a task to stop running */
	unsigned int nr_threads;
	struct task_struct *thread[MAX_THREADS];
};

/* The task should have a look.  Any context. */
void vpback_sched_kick(struct vpback_sched *sched, struct vpback_task *task)
{
	unsigned long flags;
	bool wake = false;

	spin_lock_irqsave(&sched->lock, flags);
	if (task->running) {
		task->again = true;
	} else if (!task->queued && !task->dead) {
		task->queued = true;
		list_add_tail(&task->node, &sched->line);
		wake = true;
	}
	spin_unlock_irqrestore(&sched->lock, flags);
	if (wake)
		wake_up(&sched->work);
}

/* The task will not run any more, and does not run when this returns. */
void vpback_sched_retire(struct vpback_sched *sched, struct vpback_task *task)
{
	spin_lock_irq(&sched->lock);
	task->dead = true;
	if (task->queued) {
		task->queued = false;
		list_del(&task->node);
	}
	/* Bounded: a step never sleeps for a peer. */
	wait_event_lock_irq(sched->idle, !task->running, sched->lock);
	spin_unlock_irq(&sched->lock);
}

/* A run of the task that goes on now has ended when this returns; another may begin. */
void vpback_sched_flush(struct vpback_sched *sched, struct vpback_task *task)
{
	unsigned int runs;

	spin_lock_irq(&sched->lock);
	runs = task->runs;
	wait_event_lock_irq(sched->idle, !task->running || task->runs != runs, sched->lock);
	spin_unlock_irq(&sched->lock);
}

static struct vpback_task *sched_next(struct vpback_sched *sched)
{
	struct vpback_task *task;

	spin_lock_irq(&sched->lock);
	task = list_first_entry_or_null(&sched->line, struct vpback_task, node);
	if (task) {
		list_del(&task->node);
		task->queued = false;
		task->running = true;
		task->again = false;
	}
	spin_unlock_irq(&sched->lock);
	return task;
}

static void sched_done(struct vpback_sched *sched, struct vpback_task *task, bool more)
{
	spin_lock_irq(&sched->lock);
	task->running = false;
	task->runs++;
	if ((more || task->again) && !task->dead) {
		task->queued = true;
		list_add_tail(&task->node, &sched->line);
	}
	spin_unlock_irq(&sched->lock);
	wake_up_all(&sched->idle);
}

static int sched_thread(void *data)
{
	struct vpback_sched *sched = data;
	struct vpback_task *task;

	/* What moves in bulk must not delay each single request of blkback and netback. */
	set_user_nice(current, SCHED_NICE);
	while (!kthread_should_stop()) {
		wait_event_idle_exclusive(sched->work,
					  !list_empty_careful(&sched->line) ||
					  kthread_should_stop());
		while ((task = sched_next(sched))) {
			sched_done(sched, task, task->step(task));
			cond_resched();
		}
	}
	return 0;
}

/* All tasks have been retired. */
void vpback_sched_destroy(struct vpback_sched *sched)
{
	while (sched->nr_threads)
		kthread_stop(sched->thread[--sched->nr_threads]);
	kfree(sched);
}

struct vpback_sched *vpback_sched_create(unsigned int domid)
{
	struct vpback_sched *sched = kzalloc(sizeof(*sched), GFP_KERNEL);
	unsigned int nr = vpback_threads ?: num_online_cpus();
	struct task_struct *thread;

	if (!sched)
		return ERR_PTR(-ENOMEM);
	spin_lock_init(&sched->lock);
	INIT_LIST_HEAD(&sched->line);
	init_waitqueue_head(&sched->work);
	init_waitqueue_head(&sched->idle);
	for (nr = min(nr, MAX_THREADS); sched->nr_threads < nr; ) {
		thread = kthread_run(sched_thread, sched, "vpback/%u.%u", domid,
				     sched->nr_threads);
		if (IS_ERR(thread)) {
			vpback_sched_destroy(sched);
			return ERR_CAST(thread);
		}
		sched->thread[sched->nr_threads++] = thread;
	}
	return sched;
}
