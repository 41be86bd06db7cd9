// SPDX-License-Identifier: GPL-2.0
/*
 * sched.c: the threads of one domain and what they run.  A flow is a task: kicked
 * when a bio ended, its socket turned writable, or it got something to do; it runs
 * on one of a bounded number of threads, moves a bounded number of bytes, and goes
 * to the end of the line when there is more.  So a domain has as many threads with
 * one flow as with thousands.
 *
 * A task that lacks credits (credit.c) waits aside: one list for each combination of
 * what tasks need, and whichever the gate opens goes before the line.  Kicked it runs
 * all the same, for what costs nothing: to cancel, to detach, to give back pages.
 */
#include <linux/sched.h>
#include <linux/slab.h>

#include "vpback.h"

#define MAX_THREADS	8U
#define SCHED_NICE	10

struct vpback_sched {
	spinlock_t lock;		/* serialises the lists and the tasks' flags */
	struct list_head line;
	struct list_head waits[VPBACK_CREDIT_NEEDS];	/* for credits */
	struct vpback_account *account;
	wait_queue_head_t work;		/* threads, for something to run */
	wait_queue_head_t idle;		/* _retire and _flush, for a task to stop running */
	unsigned int nr_threads;
	struct task_struct *thread[MAX_THREADS];
};

/* --- lists: with the lock ---------------------------------------------------------- */

static void sched_queue(struct vpback_sched *sched, struct vpback_task *task)
{
	struct vpback_credit *credit = &sched->account->credit;

	task->queued = true;
	list_add_tail(&task->node, &sched->line);
	WRITE_ONCE(credit->tasks, credit->tasks + 1);
}

/* From wherever it is. */
static void sched_unqueue(struct vpback_sched *sched, struct vpback_task *task)
{
	struct vpback_credit *credit = &sched->account->credit;

	if (task->queued)
		WRITE_ONCE(credit->tasks, credit->tasks - 1);
	if (task->queued || task->waits)
		list_del(&task->node);
	if (task->waits && list_empty(&sched->waits[task->needs]))
		vpback_credit_go_on(sched->account, task->needs);
	task->queued = false;
	task->waits = false;
}

/* Who had to run in between, and is here again, is not last. */
static void sched_wait_for_credit(struct vpback_sched *sched, struct vpback_task *task)
{
	struct list_head *list = &sched->waits[task->needs];
	bool first = list_empty(list);

	if (task->passed_over)
		list_add(&task->node, list);
	else
		list_add_tail(&task->node, list);
	task->waits = true;
	task->passed_over = true;
	if (first)
		vpback_credit_wait(sched->account, task->needs);
}

/* A list whose first task may run, or NULL.  Without the lock: perhaps there is one. */
static struct list_head *sched_list(struct vpback_sched *sched)
{
	u32 open = READ_ONCE(sched->account->open);
	unsigned int needs;

	for (needs = 0; open && needs < VPBACK_CREDIT_NEEDS; needs++)
		if (open & BIT(needs) && !list_empty_careful(&sched->waits[needs]))
			return &sched->waits[needs];
	return list_empty_careful(&sched->line) ? NULL : &sched->line;
}

/* --- tasks ----------------------------------------------------------------------------- */

/* The task should have a look.  Any context. */
void vpback_sched_kick(struct vpback_sched *sched, struct vpback_task *task)
{
	unsigned long flags;
	bool wake = false;

	spin_lock_irqsave(&sched->lock, flags);
	if (task->running) {
		task->again = true;
	} else if (!task->queued && !task->dead) {
		sched_unqueue(sched, task);
		sched_queue(sched, task);
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
	sched_unqueue(sched, task);
	/* Bounded: a step never sleeps for a peer. */
	wait_event_lock_irq(sched->idle, !task->running, sched->lock);
	spin_unlock_irq(&sched->lock);
	vpback_credit_stepped();
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
	struct vpback_credit *credit = &sched->account->credit;
	struct vpback_task *task = NULL;
	struct list_head *list;

	spin_lock_irq(&sched->lock);
	list = sched_list(sched);
	if (list) {
		task = list_first_entry(list, struct vpback_task, node);
		sched_unqueue(sched, task);
		WRITE_ONCE(credit->tasks, credit->tasks + 1);
		WRITE_ONCE(credit->running, credit->running + 1);
		task->running = true;
		task->again = false;
	}
	spin_unlock_irq(&sched->lock);
	return task;
}

static void sched_done(struct vpback_sched *sched, struct vpback_task *task,
		       enum vpback_step step)
{
	struct vpback_credit *credit = &sched->account->credit;

	spin_lock_irq(&sched->lock);
	task->running = false;
	task->runs++;
	WRITE_ONCE(credit->tasks, credit->tasks - 1);
	WRITE_ONCE(credit->running, credit->running - 1);
	if (step != VPBACK_STEP_CREDIT)
		task->passed_over = false;
	if (!task->dead && (task->again || step == VPBACK_STEP_MORE))
		sched_queue(sched, task);
	else if (!task->dead && step == VPBACK_STEP_CREDIT)
		sched_wait_for_credit(sched, task);
	spin_unlock_irq(&sched->lock);
	wake_up_all(&sched->idle);
	vpback_credit_stepped();
}

static int sched_thread(void *data)
{
	struct vpback_sched *sched = data;
	struct vpback_task *task;

	/* What moves in bulk must not delay each single request of blkback and netback. */
	set_user_nice(current, SCHED_NICE);
	while (!kthread_should_stop()) {
		wait_event_idle_exclusive(sched->work,
					  sched_list(sched) || kthread_should_stop());
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
	vpback_credit_leave(sched->account);
	kfree(sched);
}

struct vpback_sched *vpback_sched_create(struct vpback_device *dev)
{
	struct vpback_sched *sched = kzalloc(sizeof(*sched), GFP_KERNEL);
	unsigned int nr = vpback_threads ?: num_online_cpus();
	struct task_struct *thread;
	unsigned int needs;

	if (!sched)
		return ERR_PTR(-ENOMEM);
	spin_lock_init(&sched->lock);
	INIT_LIST_HEAD(&sched->line);
	for (needs = 0; needs < VPBACK_CREDIT_NEEDS; needs++)
		INIT_LIST_HEAD(&sched->waits[needs]);
	init_waitqueue_head(&sched->work);
	init_waitqueue_head(&sched->idle);
	nr = min(nr, MAX_THREADS);
	sched->account = &dev->account;
	vpback_credit_join(sched->account, &sched->work, nr);
	while (sched->nr_threads < nr) {
		thread = kthread_run(sched_thread, sched, "vpback/%u.%u", dev->domid,
				     sched->nr_threads);
		if (IS_ERR(thread)) {
			vpback_sched_destroy(sched);
			return ERR_CAST(thread);
		}
		sched->thread[sched->nr_threads++] = thread;
	}
	return sched;
}
