// SPDX-License-Identifier: GPL-2.0
/*
 * vpipectl: the network namespace of a guest's shadow sockets
 *
 * It has one link for each vif of the guest and nothing else.  The shadow sockets
 * use the guest's own addresses, which may be any: so none is configured, but all
 * that arrives on a link is local (table 100), and all that leaves goes out by a
 * default route without next hop; the frontend told the backend the next hop's MAC
 * address.  No namespace file is made: the backend holds the namespace, and it
 * goes with the device.
 */
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "vpipectl.h"

#define SYSCTL_DIR	"/proc/sys/net/"
#define LINK_PREFIX	"vpipe"
#define MAX_LINKS	64
#define TABLE		"100"

extern char **environ;

/*
 * A new namespace has some settings of init_net and the compiled-in default of
 * others, so all that matter are set.  The links are made after this and take
 * what "default" says.
 */
static const struct {
	const char *name;
	const char *value;
} settings[] = {
	{ "ipv4/ip_forward", "0" },		/* first: it resets others */
	{ "ipv4/conf/all/rp_filter", "0" },
	{ "ipv4/conf/default/rp_filter", "0" },
	{ "ipv4/conf/all/accept_redirects", "0" },
	{ "ipv4/conf/default/accept_redirects", "0" },
	{ "ipv4/conf/all/log_martians", "0" },
	{ "ipv4/conf/default/log_martians", "0" },
	/* in repair mode it can leave the tail of the restored queue unsent */
	{ "ipv4/tcp_autocorking", "0" },
	/* connections that have ended go home, and wait there */
	{ "ipv4/tcp_max_tw_buckets", "0" },
	/* each flow comes with its own round-trip time and thresholds */
	{ "ipv4/tcp_no_metrics_save", "1" },
	/* each flow comes with its own flow label, or with none */
	{ "ipv6/auto_flowlabels", "0" },
	{ "ipv6/conf/all/forwarding", "0" },
	{ "ipv6/conf/all/accept_ra", "0" },
	{ "ipv6/conf/default/accept_ra", "0" },
	{ "ipv6/conf/all/accept_redirects", "0" },
	{ "ipv6/conf/default/accept_redirects", "0" },
	{ "ipv6/conf/all/autoconf", "0" },
	{ "ipv6/conf/default/autoconf", "0" },
	{ "ipv6/conf/all/dad_transmits", "0" },
	{ "ipv6/conf/default/dad_transmits", "0" },
	{ "ipv6/conf/all/accept_dad", "0" },
	{ "ipv6/conf/default/accept_dad", "0" },
	{ "ipv6/conf/all/router_solicitations", "0" },
	{ "ipv6/conf/default/router_solicitations", "0" },
	{ "ipv6/conf/all/addr_gen_mode", "1" },	/* no link-local address */
	{ "ipv6/conf/default/addr_gen_mode", "1" },
	{ "ipv6/conf/all/disable_ipv6", "0" },
	{ "ipv6/conf/default/disable_ipv6", "0" },
};

/*
 * How the host was tuned for its own TCP holds for the guests' flows too.  (A new
 * namespace has the host's congestion control and buffer sizes already.)
 */
static const char *const inherited[] = {
	"ipv4/tcp_early_retrans",
	"ipv4/tcp_limit_output_bytes",
	"ipv4/tcp_max_reordering",
	"ipv4/tcp_min_tso_segs",
	"ipv4/tcp_moderate_rcvbuf",
	"ipv4/tcp_mtu_probing",
	"ipv4/tcp_notsent_lowat",
	"ipv4/tcp_pacing_ca_ratio",
	"ipv4/tcp_pacing_ss_ratio",
	"ipv4/tcp_recovery",
	"ipv4/tcp_reordering",
	"ipv4/tcp_retries2",
	"ipv4/tcp_slow_start_after_idle",
	"ipv4/tcp_tso_win_divisor",
};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* What this kernel does not have needs no setting */
static bool sysctl_write(const char *name, const char *value)
{
	char path[128];

	snprintf(path, sizeof(path), SYSCTL_DIR "%s", name);
	if (attribute_write(path, value) || errno == ENOENT)
		return true;
	complain("cannot set %s: %s", path, strerror(errno));
	return false;
}

static void sysctl_read(const char *name, char *value, size_t size)
{
	char path[128];
	FILE *f;

	snprintf(path, sizeof(path), SYSCTL_DIR "%s", name);
	value[0] = '\0';
	f = fopen(path, "re");
	if (!f)
		return;
	if (!fgets(value, size, f))
		value[0] = '\0';
	fclose(f);
}

static bool make_namespace(void)
{
	char values[COUNT(inherited)][64];
	unsigned int i;

	for (i = 0; i < COUNT(inherited); i++)
		sysctl_read(inherited[i], values[i], sizeof(values[i]));
	if (unshare(CLONE_NEWNET)) {
		complain("cannot make a network namespace: %s", strerror(errno));
		return false;
	}
	for (i = 0; i < COUNT(inherited); i++)
		if (values[i][0] && !sysctl_write(inherited[i], values[i]))
			return false;
	for (i = 0; i < COUNT(settings); i++)
		if (!sysctl_write(settings[i].name, settings[i].value))
			return false;
	return true;
}

/* The attribute may come a little later than what the driver's probe wrote */
static bool tell_backend(const struct device *dev, const char *value)
{
	const struct timespec pause = { .tv_nsec = 10 * 1000 * 1000 };
	char path[DEVICE_PATH_MAX + 16];
	unsigned int tries = 200;

	snprintf(path, sizeof(path), "%s/netns", dev->sysfs);
	while (!attribute_write(path, value)) {
		if (errno != ENOENT || !--tries || interrupted) {
			complain("cannot write '%s' to %s: %s; see dmesg", value, path,
				 strerror(errno));
			return false;
		}
		nanosleep(&pause, NULL);
	}
	return true;
}

struct link {
	char name[IF_NAMESIZE];
	unsigned int handle;
};

static int find_links(struct link *links)
{
	struct if_nameindex *list = if_nameindex(), *i;
	int n = 0;

	if (!list) {
		complain("cannot list the links: %s", strerror(errno));
		return -1;
	}
	for (i = list; i->if_name && n < MAX_LINKS; i++) {
		const char *digits = i->if_name + strlen(LINK_PREFIX);

		if (strncmp(i->if_name, LINK_PREFIX, strlen(LINK_PREFIX)) || !*digits ||
		    strspn(digits, "0123456789") != strlen(digits))
			continue;
		snprintf(links[n].name, sizeof(links[n].name), "%s", i->if_name);
		links[n].handle = strtoul(digits, NULL, 10);
		n++;
	}
	if_freenameindex(list);
	return n;
}

/* Runs `ip FAMILY -batch -` with these lines */
static bool run_ip(const char *family, const char *lines)
{
	char *argv[] = { "ip", (char *)family, "-batch", "-", NULL };
	posix_spawn_file_actions_t actions;
	size_t n = strlen(lines);
	int fds[2], err, status;
	bool written;
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC)) {
		complain("cannot make a pipe: %s", strerror(errno));
		return false;
	}
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, fds[0], STDIN_FILENO);
	err = posix_spawnp(&pid, argv[0], &actions, NULL, argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	close(fds[0]);
	if (err) {
		close(fds[1]);
		complain("cannot run ip: %s%s", strerror(err),
			 err == ENOENT ? "; install iproute2" : "");
		return false;
	}
	written = write(fds[1], lines, n) == (ssize_t)n;	/* fits a pipe */
	close(fds[1]);
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return false;
	if (written && WIFEXITED(status) && !WEXITSTATUS(status))
		return true;
	complain("'ip %s -batch -' failed; it must be the one of iproute2, not busybox. It was to do:\n%s",
		 family, lines);
	return false;
}

static bool configure(const char *family, const struct link *links, int n)
{
	char *lines = NULL;
	size_t size;
	FILE *f = open_memstream(&lines, &size);
	bool ok;
	int i;

	if (!f) {
		complain("out of memory");
		return false;
	}
	/* before the links are up: nothing that arrives is ever routed elsewhere */
	fputs("link set lo up\n"
	      "route add local default dev lo table " TABLE "\n"
	      "rule add not iif lo lookup " TABLE " pref " TABLE "\n", f);
	for (i = 0; i < n; i++)
		fprintf(f, "link set %s up\nroute add default dev %s metric %u\n",
			links[i].name, links[i].name, links[i].handle + 1);
	ok = !fclose(f) && run_ip(family, lines);
	free(lines);
	return ok;
}

static bool configure_all(const struct link *links, int n)
{
	return configure("-4", links, n) &&
	       (access(SYSCTL_DIR "ipv6", F_OK) || configure("-6", links, n));
}

/*
 * Makes the namespace and gives it to the backend.  From here on this process
 * lives in it, which nothing else that vpipectl does can notice.
 */
enum result netns_hand_over(const struct device *dev)
{
	struct link links[MAX_LINKS];
	int n;

	if (!make_namespace() || !tell_backend(dev, "1"))
		return FAILED;
	n = find_links(links);
	if (!n)
		complain("the backend made no link: has the guest a vif that is connected?");
	if (n <= 0 || !configure_all(links, n))
		return FAILED;
	return tell_backend(dev, "2") ? OK : FAILED;
}

/* Likewise for vifs that came later; says which they are */
enum result netns_update(const struct device *dev)
{
	char path[DEVICE_PATH_MAX + 16];
	struct link links[MAX_LINKS];
	int n, i;

	if (!make_namespace())
		return FAILED;
	snprintf(path, sizeof(path), "%s/netns", dev->sysfs);
	if (!attribute_write(path, "3")) {
		if (errno == ENODEV) {
			printf("domain %u has no vif that is new\n", dev->domid);
			return OK;
		}
		complain("cannot have links made: %s%s", strerror(errno),
			 errno == EINVAL ? "; the backend that is loaded is older" : "; see dmesg");
		return FAILED;
	}
	n = find_links(links);
	if (n <= 0 || !configure_all(links, n))
		return FAILED;
	for (i = 0; i < n; i++)
		printf("domain %u: vif %u is served\n", dev->domid, links[i].handle);
	return OK;
}
