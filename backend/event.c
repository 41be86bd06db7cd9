// SPDX-License-Identifier: GPL-2.0
/*
 * event.c: the event page of a queue, and the events for which it has no room.  The
 * frontend takes them whenever it likes; one that does not is served no more
 * transfers (vpback_events_congested), so that what waits is bounded.
 */
#include <linux/slab.h>

#include "vpback.h"

#define MAX_EVENTS	(8 * XEN_VPIPE_EVENTS)	/* that wait for room */

/* With the lock, from the list of those that wait. */
static void event_take(struct vpback_events *events, struct vpback_event *event)
{
	list_del_init(&event->node);
	events->nr--;
	if (event->evt.type == XEN_VPIPE_EVT_TRANSFER_DONE)
		kfree(event);		/* the others are part of their flow */
}

/* With the lock; as vpback_events_flush(). */
static int event_flush(struct vpback_events *events)
{
	struct xen_vpipe_event_page *page = events->page;
	struct vpback_event *event;
	int any = 0;
	u32 room;

	while ((event = list_first_entry_or_null(&events->waiting, struct vpback_event, node))) {
		room = XEN_VPIPE_EVENTS - (events->prod - READ_ONCE(page->cons));
		if (!room) {
			WRITE_ONCE(page->full, 1);
			mb();	/* full before cons: the frontend does it the other way round */
			room = XEN_VPIPE_EVENTS - (events->prod - READ_ONCE(page->cons));
		}
		if (room > XEN_VPIPE_EVENTS)
			return -ERANGE;
		if (!room)
			break;
		page->event[events->prod % XEN_VPIPE_EVENTS] = event->evt;
		wmb();	/* the event before its index */
		WRITE_ONCE(page->prod, ++events->prod);
		event_take(events, event);
		any = 1;
	}
	return any;
}

/*
 * Move what waits into the event page: 1 when there was any, for the frontend to know;
 * -ERANGE when the frontend has spoilt the page's index.  Process context, as all here.
 */
int vpback_events_flush(struct vpback_events *events)
{
	int ret;

	spin_lock(&events->lock);
	ret = event_flush(events);
	spin_unlock(&events->lock);
	return ret;
}

/* One more, unless the same waits already.  As vpback_events_flush(). */
int vpback_events_add(struct vpback_events *events, struct vpback_event *event)
{
	int ret;

	spin_lock(&events->lock);
	if (list_empty(&event->node)) {
		list_add_tail(&event->node, &events->waiting);
		events->nr++;
	}
	ret = event_flush(events);
	spin_unlock(&events->lock);
	return ret;
}

/* Those of a flow that goes. */
void vpback_events_forget(struct vpback_events *events, u32 flow)
{
	struct vpback_event *event, *next;

	spin_lock(&events->lock);
	list_for_each_entry_safe(event, next, &events->waiting, node)
		if (event->evt.flow == flow)
			event_take(events, event);
	spin_unlock(&events->lock);
}

/* The frontend does not take its events. */
bool vpback_events_congested(struct vpback_events *events)
{
	return READ_ONCE(events->nr) > MAX_EVENTS;
}

/* The queue ends; all flows, with their events, have gone. */
void vpback_events_drop(struct vpback_events *events)
{
	struct vpback_event *event, *next;

	list_for_each_entry_safe(event, next, &events->waiting, node)
		event_take(events, event);
}

void vpback_events_init(struct vpback_events *events)
{
	spin_lock_init(&events->lock);
	INIT_LIST_HEAD(&events->waiting);
}
