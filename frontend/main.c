// SPDX-License-Identifier: GPL-2.0
/*
 * vpipe-front: lets a program in this VM have the driver domain move bytes
 * between its files and sockets (vPipe, SoCC'14).
 */
#include <linux/module.h>
#include <xen/xen.h>

#include "vpfront.h"

#define CREATE_TRACE_POINTS
#include "trace.h"

static int __init vpfront_init(void)
{
	int ret;

	if (!xen_domain())
		return -ENODEV;

	ret = vpfront_guard_init();
	if (ret)
		return ret;
	ret = vpfront_capture_init();
	if (ret)
		return ret;
	ret = vpfront_sink_init();
	if (ret)
		goto err_capture;
	ret = vpfront_strays_init();
	if (ret)
		goto err_sink;
	ret = vpfront_flow_init();
	if (ret)
		goto err_strays;
	ret = vpfront_watch_init();
	if (ret)
		goto err_flow;
	ret = vpfront_pipe_init();
	if (ret)
		goto err_watch;
	ret = vpfront_chardev_init();
	if (ret)
		goto err_pipe;
	ret = vpfront_xenbus_init();
	if (ret)
		goto err_chardev;
	return 0;

err_chardev:
	vpfront_chardev_exit();
err_pipe:
	vpfront_pipe_exit();
err_watch:
	vpfront_watch_exit();
err_flow:
	vpfront_flow_exit();
err_strays:
	vpfront_strays_exit();
err_sink:
	vpfront_sink_exit();
err_capture:
	vpfront_capture_exit();
	return ret;
}

static void __exit vpfront_exit(void)
{
	vpfront_xenbus_exit();
	vpfront_chardev_exit();
	vpfront_pipe_exit();
	vpfront_watch_exit();
	vpfront_flow_exit();
	vpfront_strays_exit();
	vpfront_sink_exit();
	vpfront_capture_exit();
}

module_init(vpfront_init);
module_exit(vpfront_exit);

MODULE_DESCRIPTION("vPipe frontend: offload of file and socket transfers to the driver domain");
MODULE_LICENSE("GPL");
MODULE_ALIAS("xen:vpipe");
