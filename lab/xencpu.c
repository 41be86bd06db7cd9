// SPDX-License-Identifier: GPL-2.0
/* xencpu: for each domain a line "domid cpu_time_ns" (CPU time used so far) */
#include <inttypes.h>
#include <stdio.h>
#include <xenctrl.h>

int main(void)
{
	xc_interface *xc = xc_interface_open(NULL, NULL, 0);
	xc_domaininfo_t info[64];
	uint32_t next = 0;
	int i, n;

	if (!xc)
		return 1;
	while ((n = xc_domain_getinfolist(xc, next, 64, info)) > 0) {
		for (i = 0; i < n; i++)
			printf("%u %" PRIu64 "\n", (unsigned int)info[i].domain,
			       (uint64_t)info[i].cpu_time);
		next = info[n - 1].domain + 1u;
	}
	if (n < 0)
		perror("xencpu");
	xc_interface_close(xc);
	return n < 0 || fflush(stdout) ? 1 : 0;
}
