// SPDX-License-Identifier: GPL-2.0
/* vpipectl calibrate: what the host is taken to be able to do; and measuring it again */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vpipectl.h"

#define CAPACITY_DIR	"/sys/kernel/debug/vpipe-back"

struct capacity {
	long long mbps;			/* 10^6 bytes per second; negative: not known */
	char how[16];			/* calibrated, set */
};

static void read_capacity(const char *what, struct capacity *capacity)
{
	char line[128], name[16];
	FILE *f = fopen(CAPACITY_DIR "/capacity", "re");

	capacity->mbps = -1;
	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "%15s %lld %15s", name, &capacity->mbps, capacity->how) == 3 &&
		    !strcmp(name, what))
			break;
		else
			capacity->mbps = -1;
	if (f)
		fclose(f);
}

static void show(struct json *json, const char *what)
{
	struct capacity capacity;

	read_capacity(what, &capacity);
	if (!json && capacity.mbps < 0) {
		printf("%-6s %10s\n", what, "-");
	} else if (!json) {
		printf("%-6s %10lld MB/s  %s\n", what, capacity.mbps, capacity.how);
	} else if (capacity.mbps < 0) {
		json_null(json, what);
	} else {
		json_open(json, what, '{');
		json_number(json, "mbps", capacity.mbps);
		json_string(json, "source", capacity.how);
		json_close(json, '}');
	}
}

static enum result measure(unsigned int domid)
{
	char path[DEVICE_PATH_MAX + 16];
	struct device dev;
	enum result rc;

	device_init(&dev, domid);
	rc = device_check(&dev);
	if (rc)
		return rc;
	snprintf(path, sizeof(path), "%s/calibrate", dev.sysfs);
	if (attribute_write(path, "1"))
		return OK;
	if (errno == ENOENT)
		complain("the backend that is loaded cannot calibrate");
	else
		complain("cannot calibrate by domain %u: %s", domid, strerror(errno));
	return FAILED;
}

enum result calibrate_run(const struct options *opt, const unsigned int *domid)
{
	struct json json = { .out = stdout };
	enum result rc = domid ? measure(*domid) : OK;

	if (rc)
		return rc;
	if (opt->json)
		json_open(&json, NULL, '{');
	show(opt->json ? &json : NULL, "disk");
	show(opt->json ? &json : NULL, "net");
	if (opt->json) {
		json_close(&json, '}');
		putchar('\n');
	}
	return OK;
}
