// SPDX-License-Identifier: GPL-2.0
/*
 * watch.c: while connections are away, somebody has to see whether their frames would still
 * leave the way that the backend knows (route.c): once a second, and when a neighbour has
 * said where he is.
 */
#include <linux/jiffies.h>
#include <linux/notifier.h>
#include <linux/workqueue.h>
#include <net/netevent.h>

#include "vpfront.h"

#define WATCH_MS	1000

static void watch_work(struct work_struct *work);
static DECLARE_DELAYED_WORK(watch, watch_work);

static void watch_work(struct work_struct *work)
{
	if (vpfront_flow_look_all())
		vpfront_watch_begin();
}

/* A connection leaves: from here on until none is away.  Any context. */
void vpfront_watch_begin(void)
{
	queue_delayed_work(system_unbound_wq, &watch, msecs_to_jiffies(WATCH_MS));
}

/* Softirq. */
static int watch_netevent(struct notifier_block *nb, unsigned long event, void *data)
{
	if (event == NETEVENT_NEIGH_UPDATE && work_busy(&watch.work))
		mod_delayed_work(system_unbound_wq, &watch, 0);
	return NOTIFY_DONE;
}

static struct notifier_block watch_nb = {
	.notifier_call = watch_netevent,
};

int vpfront_watch_init(void)
{
	return register_netevent_notifier(&watch_nb);
}

/* No connection is away any more. */
void vpfront_watch_exit(void)
{
	unregister_netevent_notifier(&watch_nb);
	cancel_delayed_work_sync(&watch);
}
