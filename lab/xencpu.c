// SPDX-License-Identifier: GPL-2.0
/*
 * xencpu: for each domain a line "domid cpu_time_ns" (CPU time used so far); with an
 * argument also "idle ns", the sum over all CPUs, and "now ns", the time that has passed,
 * once for each CPU: what is left of the time of all CPUs is the hypervisor's own.
 */
#include <inttypes.h>
#include <stdio.h>
#include <time.h>
#include <xenctrl.h>

#define MAX_CPUS 64

static int print_cpus(xc_interface *xc)
{
	static xc_cpuinfo_t cpus[MAX_CPUS];
	struct timespec ts;
	uint64_t idle = 0;
	int i, n = 0;

	if (xc_getcpuinfo(xc, MAX_CPUS, cpus, &n))
		return -1;
	clock_gettime(CLOCK_MONOTONIC_RAW, &ts);
	for (i = 0; i < n; i++)
		idle += cpus[i].idletime;
	printf("idle %" PRIu64 "\nnow %" PRIu64 "\n", idle,
	       (uint64_t)n * ((uint64_t)ts.tv_sec * 1000000000U + (uint64_t)ts.tv_nsec));
	return 0;
}

static int print_domains(xc_interface *xc)
{
	xc_domaininfo_t info[64];
	uint32_t next = 0;
	int i, n;

	while ((n = xc_domain_getinfolist(xc, next, 64, info)) > 0) {
		for (i = 0; i < n; i++)
			printf("%u %" PRIu64 "\n", (unsigned int)info[i].domain,
			       (uint64_t)info[i].cpu_time);
		next = info[n - 1].domain + 1u;
	}
	return n;
}

int main(int argc, char **argv __attribute__((unused)))
{
	xc_interface *xc = xc_interface_open(NULL, NULL, 0);
	int bad;

	if (!xc)
		return 1;
	bad = print_domains(xc) || (argc > 1 && print_cpus(xc));
	if (bad)
		perror("xencpu");
	xc_interface_close(xc);
	return bad || fflush(stdout) ? 1 : 0;
}
