// SPDX-License-Identifier: GPL-2.0
/*
 * vpipectl daemon: attaches domains by themselves, and cleans up after them
 *
 *   policy file, /local/domain/<domid>/vpipe   which domains, and what they may have
 *   @introduceDomain, a vif that is connected  -->  attach, or update (a later vif)
 *   @releaseDomain                             -->  what is left of the domain goes
 *
 * It holds nothing that a device needs: what there is, it finds in xenstore and sysfs
 * each time.  So it may end and start at any moment, and what happened meanwhile makes
 * no difference.  The work is done by children, each an ordinary vpipectl: it changes
 * its network namespace, waits for the kernel, and is cleaned up after if it is killed.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>
#include <xen/io/xenbus.h>

#include "policy.h"
#include "vpipectl.h"

#define MAX_CHILDREN	4
#define SWEEP_MS	1000		/* a domain takes some time to be gone */
#define RETRY_MS	1000		/* the first time; then it doubles */
#define RETRY_MAX_MS	60000
#define VIF_ROOT	"/local/domain/0/backend/vif"

extern char **environ;

struct guest {
	struct guest *next;
	unsigned int domid;
	char uuid[40];
	bool seen;		/* in the list of domains, this time */
	bool dirty;		/* something about it has changed */
	pid_t child;		/* at work for it; 0: none is */
	unsigned int failures;	/* of children, one after the other */
	long long not_before;	/* ms; after a child's end, for the next one */
};

static struct guest *guests;
static struct policy policy;
static const char *policy_path;
static unsigned int children;
static bool sweep_again;

/* --- the policy ---------------------------------------------------------------------- */

static char *read_file(const char *path)
{
	FILE *f = fopen(path, "re");
	char *text = NULL;
	size_t size = 0;

	/* up to a zero byte: all of a text */
	if (f && getdelim(&text, &size, '\0', f) < 0 && !ferror(f)) {
		free(text);
		text = strdup("");
	}
	if (f)
		fclose(f);
	return text;
}

/* What was read before stays when this fails */
static bool load_policy(bool may_be_missing)
{
	char error[128], *text = read_file(policy_path);
	struct policy new;
	bool ok;

	if (!text && errno == ENOENT && may_be_missing) {
		complain("there is no %s: only domains whose xenstore says so are attached",
			 policy_path);
		return true;
	}
	if (!text) {
		complain("cannot read %s: %s", policy_path, strerror(errno));
		return false;
	}
	ok = policy_parse(&new, text, error, sizeof(error));
	free(text);
	if (!ok) {
		complain("%s: %s", policy_path, error);
		return false;
	}
	policy_free(&policy);
	policy = new;
	return true;
}

/*
 * Is the domain to be attached, and with what?  Its node vpipe/attach goes before the
 * policy: a toolstack can write it (libxl: xsdata), the guest cannot, and `vpipectl
 * detach` does so, that a domain which was detached by hand is left alone.
 */
static bool is_wanted(const struct guest *guest, struct share *share)
{
	char home[DEVICE_PATH_MAX], *name = domain_name(guest->domid);
	const struct policy_rule *rule;
	bool wanted, arriving;
	int attach;

	/* a domain that is migrated here; it will be renamed */
	arriving = name && strlen(name) > 10 && !strcmp(name + strlen(name) - 10, "--incoming");
	rule = policy_find(&policy, name, guest->uuid);
	free(name);
	share_init(share);
	if (rule)
		*share = rule->share;
	snprintf(home, sizeof(home), DEVICE_WISH, guest->domid);
	attach = store_number(XBT_NULL, home, "attach");
	wanted = attach >= 0 ? attach > 0 : rule && !rule->never;
	if (wanted)
		limit_read(XBT_NULL, home, share);
	return wanted && !arriving;
}

/* --- children -------------------------------------------------------------------------- */

static void start_child(struct guest *guest, const char *command, const struct share *share)
{
	char option[SHARE_ITEMS][48], domid[16];
	char *argv[SHARE_ITEMS + 6] = { "vpipectl", (char *)command };
	posix_spawnattr_t attr;
	unsigned int n = 2, i;
	sigset_t none;
	int err;

	for (i = 0; share && i < SHARE_ITEMS; i++) {
		if (share->value[i] < 0)
			continue;
		snprintf(option[i], sizeof(option[i]), "--%s=%lld", share_node[i],
			 share->value[i]);
		argv[n++] = option[i];
	}
	if (share)
		argv[n++] = "--timeout=0";
	snprintf(domid, sizeof(domid), "%u", guest->domid);
	argv[n++] = domid;
	argv[n] = NULL;

	sigemptyset(&none);
	posix_spawnattr_init(&attr);
	posix_spawnattr_setsigmask(&attr, &none);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK);
	err = posix_spawn(&guest->child, "/proc/self/exe", NULL, &attr, argv, environ);
	posix_spawnattr_destroy(&attr);
	if (err) {
		complain("cannot start a child: %s", strerror(err));
		guest->child = 0;
		guest->failures++;
		guest->not_before = store_now_ms() + RETRY_MAX_MS;
		return;
	}
	children++;
}

/* It is looked at again: something may have come meanwhile */
static void child_ended(struct guest *guest, int status)
{
	bool ok = WIFEXITED(status) && WEXITSTATUS(status) != FAILED &&
		  WEXITSTATUS(status) != USAGE;
	unsigned int n = guest->failures;

	guest->child = 0;
	guest->dirty = true;
	guest->failures = ok ? 0 : n + 1;
	guest->not_before = store_now_ms() + (ok ? RETRY_MS : n < 6 ? RETRY_MS << n : RETRY_MAX_MS);
	children--;
}

static void reap_children(void)
{
	struct guest *guest;
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
		for (guest = guests; guest; guest = guest->next)
			if (guest->child == pid)
				child_ended(guest, status);
}

/* --- guests ---------------------------------------------------------------------------- */

/* Does dom0 have it, and the toolstack's script done its part? */
static bool vif_is_ready(unsigned int domid, const char *handle)
{
	char dir[DEVICE_PATH_MAX], *hotplug;
	bool ready;

	snprintf(dir, sizeof(dir), VIF_ROOT "/%u/%.16s", domid, handle);
	hotplug = store_read(XBT_NULL, dir, "hotplug-status");
	/* a toolstack without scripts: then netback does not wait for one either */
	ready = hotplug ? !strcmp(hotplug, "connected") :
		store_number(XBT_NULL, dir, "state") == XenbusStateConnected;
	free(hotplug);
	return ready;
}

static bool is_served(const char *vifs, const char *handle)
{
	size_t n = strlen(handle);

	for (; *vifs; vifs += strcspn(vifs, " "), vifs += *vifs == ' ')
		if (!strncmp(vifs, handle, n) && (!vifs[n] || vifs[n] == ' '))
			return true;
	return false;
}

/* Has it a vif that is ready, and not in this list? */
static bool has_new_vif(unsigned int domid, const char *vifs)
{
	char dir[DEVICE_PATH_MAX], **list;
	unsigned int n, i;
	bool found = false;

	snprintf(dir, sizeof(dir), VIF_ROOT "/%u", domid);
	list = store_list(XBT_NULL, dir, &n);
	for (i = 0; i < n && !found; i++)
		found = !is_served(vifs, list[i]) && vif_is_ready(domid, list[i]);
	free(list);
	return found;
}

static void look_at(struct guest *guest)
{
	char vifs[1024];
	struct device dev;
	struct share share;
	int state;

	device_init(&dev, guest->domid);
	state = device_backend_state(XBT_NULL, &dev);
	if (state > XenbusStateInitialising) {
		/* somebody may have attached it by hand: then that is served too */
		if (state <= XenbusStateConnected &&
		    attribute_read(dev.sysfs, "vifs", vifs, sizeof(vifs)) &&
		    has_new_vif(guest->domid, vifs))
			start_child(guest, "update", NULL);
	} else if (has_new_vif(guest->domid, "") && is_wanted(guest, &share)) {
		/* also when it is half attached: the child waits for whoever is at it */
		start_child(guest, "attach", &share);
	}
}

static void look_at_all(void)
{
	long long now = store_now_ms();
	struct guest *guest;

	for (guest = guests; guest && children < MAX_CHILDREN; guest = guest->next) {
		if (guest->child || !guest->dirty || guest->not_before > now)
			continue;
		guest->dirty = false;
		look_at(guest);
	}
}

/* Its name, and what a toolstack says: not its own children, of which a guest has some */
static void watch_guest(const struct guest *guest, bool on)
{
	char path[DEVICE_PATH_MAX];

	snprintf(path, sizeof(path), "/local/domain/%u/name", guest->domid);
	store_watch(path, guest->uuid, on);
	snprintf(path, sizeof(path), DEVICE_WISH, guest->domid);
	store_watch(path, guest->uuid, on);
}

static void guest_seen(unsigned int domid, const char *uuid, void *arg)
{
	struct guest *guest;

	(void)arg;
	if (!domid)
		return;
	for (guest = guests; guest; guest = guest->next) {
		if (guest->domid == domid && !strcmp(guest->uuid, uuid)) {
			guest->seen = true;
			return;
		}
	}
	guest = calloc(1, sizeof(*guest));
	if (!guest)
		return;
	guest->domid = domid;
	snprintf(guest->uuid, sizeof(guest->uuid), "%s", uuid);
	guest->seen = guest->dirty = true;
	guest->next = guests;
	guests = guest;
	watch_guest(guest, true);
}

/* Who came, and who went */
static void find_guests(void)
{
	struct guest *guest, **at;

	for (guest = guests; guest; guest = guest->next)
		guest->seen = false;
	domain_each(guest_seen, NULL);
	for (at = &guests; (guest = *at); ) {
		if (guest->seen || guest->child) {
			at = &guest->next;
			continue;
		}
		watch_guest(guest, false);
		*at = guest->next;
		free(guest);
		sweep_again = true;
	}
}

/* --- events ---------------------------------------------------------------------------- */

static void guest_changed(unsigned int domid)
{
	struct guest *guest;

	for (guest = guests; guest; guest = guest->next)
		if (guest->domid == domid)
			guest->dirty = true;
}

static void on_watch(const char *path)
{
	unsigned int domid;

	if (*path == '@')
		sweep_again = true;
	else if (sscanf(path, VIF_ROOT "/%u", &domid) == 1 ||
		 sscanf(path, "/local/domain/%u/", &domid) == 1)
		guest_changed(domid);
}

/* true: to end */
static bool on_signal(int fd)
{
	struct signalfd_siginfo info;
	struct guest *guest;

	while (read(fd, &info, sizeof(info)) == sizeof(info)) {
		if (info.ssi_signo == SIGCHLD) {
			reap_children();
		} else if (info.ssi_signo != SIGHUP) {
			return true;
		} else if (load_policy(false)) {
			printf("the policy was read again\n");
			for (guest = guests; guest; guest = guest->next)
				guest->dirty = true;
		}
	}
	return false;
}

static int next_timeout(void)
{
	long long now = store_now_ms(), next = sweep_again ? now + SWEEP_MS : -1;
	struct guest *guest;

	/* with no child to spare, the end of one comes first */
	for (guest = guests; guest && children < MAX_CHILDREN; guest = guest->next)
		if (guest->dirty && !guest->child && (next < 0 || guest->not_before < next))
			next = guest->not_before;
	return next < 0 ? -1 : next < now ? 0 : next - now;
}

static enum result serve(int signals)
{
	struct pollfd pfd[] = {
		{ .fd = store_fd(), .events = POLLIN },
		{ .fd = signals, .events = POLLIN },
	};
	bool ready = false;
	char *path;

	for (;;) {
		while ((path = store_event())) {
			on_watch(path);
			free(path);
		}
		if (errno != EAGAIN) {
			complain("xenstore is gone: %s", strerror(errno));
			return FAILED;
		}
		if (on_signal(signals))
			return OK;
		if (sweep_again)
			sweep_again = device_sweep(false);
		find_guests();
		look_at_all();
		if (!ready)
			printf("ready\n");
		ready = true;
		fflush(stdout);
		if (poll(pfd, 2, next_timeout()) < 0 && errno != EINTR)
			return FAILED;
	}
}

/* What they do is left in good order, and is short */
static void await_children(void)
{
	struct guest *guest;

	for (guest = guests; guest; guest = guest->next)
		if (guest->child)
			waitpid(guest->child, NULL, 0);
}

enum result daemon_run(const struct options *opt)
{
	enum result rc;
	sigset_t mask;
	int signals;

	policy_path = opt->policy ? opt->policy : POLICY_FILE;
	if (!lock_try(LOCK_DAEMON)) {
		complain(errno == EAGAIN || errno == EACCES ? "another vpipectl daemon is running" :
			 "cannot make a file in /run: is it writable?");
		return FAILED;
	}
	if (!load_policy(!opt->policy))
		return FAILED;
	sigemptyset(&mask);
	sigaddset(&mask, SIGINT);
	sigaddset(&mask, SIGTERM);
	sigaddset(&mask, SIGHUP);
	sigaddset(&mask, SIGCHLD);
	sigprocmask(SIG_BLOCK, &mask, NULL);
	signals = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
	if (signals < 0) {
		complain("cannot wait for signals: %s", strerror(errno));
		return FAILED;
	}
	if (!store_watch("@introduceDomain", "daemon", true) || !store_watch("@releaseDomain", "daemon", true) ||
	    !store_watch(VIF_ROOT, "daemon", true)) {
		complain("cannot watch xenstore: %s", strerror(errno));
		return FAILED;
	}
	sweep_again = true;		/* what happened while no daemon was there */
	rc = serve(signals);
	await_children();
	return rc;
}
