// SPDX-License-Identifier: GPL-2.0
/* vpipectl list, vpipectl stats */
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vpipectl.h"

struct row {
	struct device dev;
	bool alive;
	char *name;
	char *network;
	int backend;		/* XenbusState */
	int frontend;
	int queues;
};

static void row_read(struct row *row, unsigned int domid)
{
	struct device *dev = &row->dev;

	device_init(dev, domid);
	row->alive = domain_alive(domid);
	row->name = domain_name(domid);
	row->network = store_read(XBT_NULL, dev->backend, "network-status");
	row->backend = device_backend_state(XBT_NULL, dev);
	row->frontend = device_frontend_state(XBT_NULL, dev);
	row->queues = store_number(XBT_NULL, dev->frontend, "num-queues");
}

static void row_free(struct row *row)
{
	free(row->name);
	free(row->network);
}

static void row_print(const struct row *row)
{
	char queues[16] = "-";

	if (row->queues >= 0)
		snprintf(queues, sizeof(queues), "%d", row->queues);
	printf("%5u  %-24s  %-12s  %-12s  %-9s  %6s\n", row->dev.domid,
	       row->alive && row->name ? row->name : row->alive ? "-" : "(dead)",
	       device_state_name(row->backend), device_state_name(row->frontend),
	       row->network ? row->network : "-", queues);
}

static void json_member(const char *key, const char *value)
{
	printf(",\"%s\":", key);
	if (value)
		json_string(value);
	else
		fputs("null", stdout);
}

static void row_json(const struct row *row)
{
	printf("{\"domid\":%u", row->dev.domid);
	json_member("name", row->name);
	printf(",\"alive\":%s", row->alive ? "true" : "false");
	json_member("backend_state", device_state_name(row->backend));
	json_member("frontend_state", device_state_name(row->frontend));
	json_member("network_status", row->network);
	if (row->queues >= 0)
		printf(",\"queues\":%d}", row->queues);
	else
		printf(",\"queues\":null}");
}

enum result list_run(const struct options *opt)
{
	unsigned int i, n, *domids = device_domains(&n);
	struct row row;

	if (opt->json)
		putchar('[');
	else
		printf("%5s  %-24s  %-12s  %-12s  %-9s  %6s\n", "ID", "Name", "Backend",
		       "Frontend", "Network", "Queues");
	for (i = 0; i < n; i++) {
		row_read(&row, domids[i]);
		if (opt->json) {
			fputs(i ? ",\n " : "", stdout);
			row_json(&row);
		} else {
			row_print(&row);
		}
		row_free(&row);
	}
	if (opt->json)
		puts("]");
	free(domids);
	return OK;
}

static int is_counter(const struct dirent *entry)
{
	return entry->d_name[0] != '.';
}

static bool read_counter(const char *dir, const char *name, char *value, size_t size)
{
	char path[DEVICE_PATH_MAX + 300];
	FILE *f;
	bool ok;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = fopen(path, "re");
	if (!f)
		return false;
	ok = fgets(value, size, f);
	fclose(f);
	if (ok)
		value[strcspn(value, "\n")] = '\0';
	return ok;
}

static void print_counter(bool json, bool first, const char *name, const char *value)
{
	if (!json) {
		printf("  %-32s %20s\n", name, value);
		return;
	}
	if (!first)
		putchar(',');
	json_string(name);
	putchar(':');
	if (*value && strspn(value, "0123456789") == strlen(value))
		fputs(value, stdout);
	else
		json_string(value);
}

static enum result print_stats(const struct options *opt, unsigned int domid, bool first)
{
	char dir[DEVICE_PATH_MAX + 16], value[64];
	struct dirent **files;
	struct device dev;
	bool begun = false;
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
	if (opt->json) {
		printf("%s{\"domid\":%u", first ? "" : ",\n ", domid);
		json_member("name", name);
		fputs(",\"statistics\":{", stdout);
	} else {
		printf("%s (%u)\n", name ? name : "-", domid);
	}
	for (i = 0; i < n; i++) {
		if (read_counter(dir, files[i]->d_name, value, sizeof(value))) {
			print_counter(opt->json, !begun, files[i]->d_name, value);
			begun = true;
		}
		free(files[i]);
	}
	if (opt->json)
		fputs("}}", stdout);
	free(files);
	free(name);
	return OK;
}

/* Of one domain, or (domid is NULL) of all that are attached */
enum result list_stats(const struct options *opt, const unsigned int *domid)
{
	unsigned int i, n, *domids = device_domains(&n);
	enum result rc = OK;
	bool first = true;

	if (domid) {
		struct device dev;

		device_init(&dev, *domid);
		if (!store_exists(XBT_NULL, dev.backend)) {
			rc = domain_alive(*domid) ? WRONG_STATE : NO_DOMAIN;
			complain(rc == NO_DOMAIN ? "no domain %u" :
				 "domain %u is not attached", *domid);
			goto out;
		}
	}
	if (opt->json)
		putchar('[');
	for (i = 0; i < n; i++) {
		if (domid && domids[i] != *domid)
			continue;
		if (print_stats(opt, domids[i], first))
			rc = FAILED;
		else
			first = false;
	}
	if (opt->json)
		puts("]");
out:
	free(domids);
	return rc;
}
