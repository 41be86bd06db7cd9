// SPDX-License-Identifier: GPL-2.0
/*
 * vpipe-pmem: makes a device of the memory that memmap=NN!SS on the kernel's command
 * line has kept free, so that a test has a filesystem with DAX.  The kernel does this
 * by itself, but only where it has found PCI (e820__reserve_resources_late()), which a
 * PV guest has not got.  To be loaded before nd_e820.
 */
#include <linux/ioport.h>
#include <linux/module.h>
#include <linux/platform_device.h>

static unsigned long start, size;
module_param(start, ulong, 0444);
module_param(size, ulong, 0444);

static struct resource memory = {
	.name = "Persistent Memory (legacy)",
	.flags = IORESOURCE_MEM,
	.desc = IORES_DESC_PERSISTENT_MEMORY_LEGACY,
};

static int __init pmem_init(void)
{
	struct platform_device *device;
	int ret;

	if (!size)
		return -EINVAL;
	memory.start = start;
	memory.end = start + size - 1;
	ret = insert_resource(&iomem_resource, &memory);
	if (ret)
		return ret;
	device = platform_device_register_simple("e820_pmem", PLATFORM_DEVID_NONE, NULL, 0);
	if (!IS_ERR(device))
		return 0;
	remove_resource(&memory);
	return PTR_ERR(device);
}

/* The memory stays what it is for the rest of the guest's life: it is not unloaded. */
module_init(pmem_init);
MODULE_DESCRIPTION("Persistent memory for vPipe's tests");
MODULE_LICENSE("GPL");
