// SPDX-License-Identifier: GPL-2.0
/*
 * vpcount: what operations hold in dom0 at this moment, for the tests' comparison of
 * before and after.  One program, because this is asked after each of them and programs
 * are slow to start on an emulated machine.
 *
 * Prints what is new in Xen's log (it is taken away from there), with the state of all
 * grant tables ("xl debug-keys g") at its end, and then one line of JSON.
 */
#include <dirent.h>
#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <xenctrl.h>
#include <xenstore.h>

#define BUS	"/sys/bus/xen-backend/devices"
#define NODES	"/local/domain/0/backend/vpipe"

/* The first line of a file; false when there is none. */
static bool first_line(const char *path, char *line, size_t size)
{
	FILE *file = fopen(path, "re");
	bool got = file && fgets(line, (int)size, file);

	if (file)
		fclose(file);
	return got;
}

/* The field'th word of the line that begins with a word; -1 without it. */
static long word_of(const char *path, const char *begin, int field)
{
	FILE *file = fopen(path, "re");
	long value = -1;
	char line[512];

	while (file && value < 0 && fgets(line, sizeof(line), file)) {
		char *word = strtok(line, " \n");

		if (!word || strcmp(word, begin))
			continue;
		for (int i = 1; word && i < field; i++)
			word = strtok(NULL, " \n");
		if (word)
			value = strtol(word, NULL, 10);
	}
	if (file)
		fclose(file);
	return value;
}

/* The sum of one of the statistics over all attached domains; -1 when there is none. */
static long statistic(const char *name)
{
	DIR *bus = opendir(BUS);
	long sum = -1;
	char path[512], line[64];

	for (struct dirent *entry; bus && (entry = readdir(bus));) {
		if (strncmp(entry->d_name, "vpipe-", 6))
			continue;
		snprintf(path, sizeof(path), BUS "/%s/statistics/%s", entry->d_name, name);
		if (first_line(path, line, sizeof(line)))
			sum = (sum < 0 ? 0 : sum) + strtol(line, NULL, 10);
	}
	if (bus)
		closedir(bus);
	return sum;
}

/* How many threads bear a name that begins so. */
static long threads(const char *begin)
{
	DIR *proc = opendir("/proc");
	long count = 0;
	char path[512], line[64];

	for (struct dirent *entry; proc && (entry = readdir(proc));) {
		snprintf(path, sizeof(path), "/proc/%s/comm", entry->d_name);
		if (entry->d_name[0] >= '1' && entry->d_name[0] <= '9' &&
		    first_line(path, line, sizeof(line)))
			count += !strncmp(line, begin, strlen(begin));
	}
	if (proc)
		closedir(proc);
	return count;
}

/* How many nodes xenstore has below this one, and with it. */
static long nodes(struct xs_handle *xs, const char *path)
{
	unsigned int n = 0;
	char **names = xs_directory(xs, XBT_NULL, path, &n);
	long count = names ? 1 : 0;

	for (unsigned int i = 0; i < n; i++) {
		char child[1024];

		snprintf(child, sizeof(child), "%s/%s", path, names[i]);
		count += nodes(xs, child);
	}
	free(names);
	return count;
}

static void print_xen_log(xc_interface *xen)
{
	static char log[1 << 20];
	unsigned int size = sizeof(log), index = 0;

	if (xc_readconsolering(xen, log, &size, true, false, &index))
		err(1, "cannot read Xen's log");
	fwrite(log, 1, size, stdout);
}

int main(void)
{
	xc_interface *xen = xc_interface_open(NULL, NULL, 0);
	struct xs_handle *xs = xs_open(0);
	FILE *shrink = fopen("/sys/kernel/slab/net_namespace/shrink", "we");

	if (!xen || !xs)
		err(1, "cannot talk to Xen");
	/* An allocator's count is exact after it has taken its caches back. */
	if (!shrink || fputs("1", shrink) < 0 || fclose(shrink))
		err(1, "cannot shrink net_namespace");
	if (xc_send_debug_keys(xen, "g"))
		err(1, "cannot have the grant tables printed");
	print_xen_log(xen);
	printf("{\"flows\":%ld,\"chunks\":%ld,\"threads\":%ld,\"nodes\":%ld,\"sockets\":%ld,"
	       "\"netns\":%ld}\n", statistic("flows"), statistic("chunks"), threads("vpback/"),
	       nodes(xs, NODES), word_of("/proc/net/sockstat", "TCP:", 9),
	       word_of("/proc/slabinfo", "net_namespace", 2));
	xs_close(xs);
	xc_interface_close(xen);
	return 0;
}
