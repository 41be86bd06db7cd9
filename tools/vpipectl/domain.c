// SPDX-License-Identifier: GPL-2.0
/* vpipectl: which domains there are, and what they are called */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xenctrl.h>

#include "vpipectl.h"

static xc_interface *xc;

enum result domain_open(void)
{
	xc_domaininfo_t info;

	/* libxenctrl would print a riddle */
	if (access("/dev/xen/privcmd", F_OK) && access("/proc/xen/privcmd", F_OK)) {
		complain("no hypervisor interface here: run this in dom0 (in dom0, try 'modprobe xen-privcmd')");
		return FAILED;
	}
	xc = xc_interface_open(NULL, NULL, 0);
	if (!xc) {
		complain("cannot open the hypervisor interface: %s", strerror(errno));
		return FAILED;
	}
	if (xc_domain_getinfolist(xc, 0, 1, &info) < 0) {
		if (errno == EPERM || errno == EACCES)
			complain("the hypervisor does not let this domain control others: run this in dom0");
		else
			complain("cannot ask the hypervisor for domains: %s", strerror(errno));
		return FAILED;
	}
	return OK;
}

void domain_close(void)
{
	if (xc)
		xc_interface_close(xc);
}

bool domain_alive(unsigned int domid)
{
	xc_domaininfo_t info;

	/* gives the first domain whose number is not smaller */
	return xc_domain_getinfolist(xc, domid, 1, &info) == 1 &&
	       info.domain == domid && !(info.flags & XEN_DOMINF_dying);
}

char *domain_name(unsigned int domid)
{
	char dir[DEVICE_PATH_MAX];

	snprintf(dir, sizeof(dir), "/local/domain/%u", domid);
	return store_read(XBT_NULL, dir, "name");
}

/* Calls for each domain that lives, with its UUID */
void domain_each(domain_visit visit, void *arg)
{
	xc_domaininfo_t info[64];
	unsigned int next = 0;
	char uuid[40];
	int i, k, n;

	while ((n = xc_domain_getinfolist(xc, next, 64, info)) > 0) {
		for (i = 0; i < n; i++) {
			char *end = uuid;

			if (info[i].flags & XEN_DOMINF_dying)
				continue;
			for (k = 0; k < 16; k++)
				end += sprintf(end, k == 4 || k == 6 || k == 8 || k == 10 ?
					       "-%02x" : "%02x", info[i].handle[k]);
			visit(info[i].domain, uuid, arg);
		}
		next = info[n - 1].domain + 1;
	}
}

static bool find_name(const char *wanted, unsigned int *domid)
{
	xc_domaininfo_t info[64];
	unsigned int next = 0;
	int i, n;

	while ((n = xc_domain_getinfolist(xc, next, 64, info)) > 0) {
		for (i = 0; i < n; i++) {
			char *name = domain_name(info[i].domain);
			bool found = name && !strcmp(name, wanted);

			free(name);
			if (found) {
				*domid = info[i].domain;
				return true;
			}
		}
		next = info[n - 1].domain + 1;
	}
	return false;
}

/*
 * By number or name.  A number need not be that of a living domain: something
 * may be left of a dead one, and only its number is known then.
 */
enum result domain_find(const char *arg, unsigned int *domid)
{
	if (*arg && strspn(arg, "0123456789") == strlen(arg)) {
		unsigned long n = strtoul(arg, NULL, 10);

		if (strlen(arg) <= 5 && n < DOMID_FIRST_RESERVED) {
			*domid = n;
			return OK;
		}
	} else if (find_name(arg, domid)) {
		return OK;
	}
	complain("no domain '%s'; 'xl list' shows those that run, 'vpipectl list' also what is left of dead ones",
		 arg);
	return NO_DOMAIN;
}
