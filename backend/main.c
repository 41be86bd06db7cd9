// SPDX-License-Identifier: GPL-2.0
/*
 * vpipe-back: moves bytes between the disks and connections of guests, in the
 * driver domain (vPipe, SoCC'14).
 */
#include <linux/module.h>
#include <xen/xen.h>

#include "vpback.h"

#define CREATE_TRACE_POINTS
#include "trace.h"

static int __init vpback_init(void)
{
	int ret;

	if (!xen_domain())
		return -ENODEV;
	ret = vpback_netdev_init();
	if (ret)
		return ret;
	vpback_credit_init();
	vpback_debug_init();
	vpback_calibrate_init();
	ret = vpback_xenbus_init();
	if (ret) {
		vpback_debug_exit();
		vpback_credit_exit();
		vpback_netdev_exit();
	}
	return ret;
}

static void __exit vpback_exit(void)
{
	vpback_xenbus_exit();
	vpback_debug_exit();
	vpback_credit_exit();
	vpback_netdev_exit();
	rcu_barrier();		/* flows are freed after a grace period */
}

module_init(vpback_init);
module_exit(vpback_exit);

MODULE_DESCRIPTION("vPipe backend: moves bytes for guests in the driver domain");
MODULE_LICENSE("GPL");
MODULE_ALIAS("xen-backend:vpipe");
