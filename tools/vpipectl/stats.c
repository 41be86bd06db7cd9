// SPDX-License-Identifier: GPL-2.0
/* vpipectl stats */
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vpipectl.h"

static int is_counter(const struct dirent *entry)
{
	return entry->d_name[0] != '.';
}

static void print_counter(struct json *json, const char *dir, const char *name)
{
	char value[64];
	long long n;

	if (!attribute_read(dir, name, value, sizeof(value)))
		return;
	if (!json)
		printf("  %-32s %20s\n", name, value);
	else if (attribute_number(dir, name, &n))
		json_number(json, name, n);
	else
		json_string(json, name, value);
}

static enum result print_stats(struct json *json, unsigned int domid)
{
	char dir[DEVICE_PATH_MAX + 16];
	struct dirent **files;
	struct device dev;
	char *name;
	int i, n;

	device_init(&dev, domid);
	snprintf(dir, sizeof(dir), "%s/statistics", dev.sysfs);
	n = scandir(dir, &files, is_counter, alphasort);
	if (n < 0) {
		complain("cannot read the counters of domain %u in %s: %s", domid, dir,
			 strerror(errno));
		return FAILED;
	}
	name = domain_name(domid);
	if (json) {
		json_open(json, NULL, '{');
		json_number(json, "domid", domid);
		json_string(json, "name", name);
		json_open(json, "statistics", '{');
	} else {
		printf("%s (%u)\n", name ? name : "-", domid);
	}
	for (i = 0; i < n; i++) {
		print_counter(json, dir, files[i]->d_name);
		free(files[i]);
	}
	if (json) {
		json_close(json, '}');
		json_close(json, '}');
	}
	free(files);
	free(name);
	return OK;
}

/* Of one domain, or (domid is NULL) of all that are attached */
enum result stats_run(const struct options *opt, const unsigned int *domid)
{
	unsigned int i, n, *domids = device_domains(&n);
	struct json json = { .out = stdout };
	enum result rc = OK;

	if (domid) {
		struct device dev;

		device_init(&dev, *domid);
		rc = device_check(&dev);
		if (rc)
			goto out;
	}
	if (opt->json)
		json_open(&json, NULL, '[');
	for (i = 0; i < n; i++)
		if ((!domid || domids[i] == *domid) &&
		    print_stats(opt->json ? &json : NULL, domids[i]))
			rc = FAILED;
	if (opt->json) {
		json_close(&json, ']');
		putchar('\n');
	}
out:
	free(domids);
	return rc;
}
