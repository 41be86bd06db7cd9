// SPDX-License-Identifier: GPL-2.0
/*
 * vpload: burn CPU time, so many per cent of it: the load of co-located domains
 *
 * In each period the process spins until it has used its part of the period by its own
 * CPU clock, and sleeps to the period's end.  One that others keep from running so makes
 * up for nothing later: it wants its part of every period, and no more.  100 never sleeps.
 */
#include <errno.h>
#include <getopt.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define NS_PER_MS	1000000ULL
#define SPIN		1000	/* steps between two looks at the clock: some microseconds */

static void help(FILE *out)
{
	fputs("Usage: vpload [OPTIONS] PERCENT\n"
	      "Burn that part of a CPU, until killed.\n"
	      "\n"
	      "  --period MS   1 to 10000 (10)\n"
	      "  --help\n"
	      "\n"
	      "Prints {\"burning\":PERCENT} when it begins.\n", out);
}

static uint64_t now(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return (uint64_t)ts.tv_sec * 1000000000ULL + (uint64_t)ts.tv_nsec;
}

/* Steps of a generator of which each needs the one before: no compiler takes them away. */
static void spin(void)
{
	static volatile uint32_t state = 1;
	uint32_t x = state;

	for (int i = 0; i < SPIN; i++)
		x = x * 1664525 + 1013904223;
	state = x;
}

static void sleep_until(uint64_t moment)
{
	struct timespec ts = {
		.tv_sec = (time_t)(moment / 1000000000ULL),
		.tv_nsec = (long)(moment % 1000000000ULL),
	};

	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL) == EINTR)
		;
}

static void burn(uint64_t period, uint64_t part)
{
	uint64_t end = now(CLOCK_MONOTONIC);

	for (;;) {
		uint64_t start = now(CLOCK_PROCESS_CPUTIME_ID);

		end += period;
		while (now(CLOCK_PROCESS_CPUTIME_ID) - start < part && now(CLOCK_MONOTONIC) < end)
			spin();
		sleep_until(end);
	}
}

static unsigned long number(const char *s, unsigned long min, unsigned long max)
{
	unsigned long value;
	char *end;

	errno = 0;
	value = strtoul(s, &end, 10);
	if (errno || end == s || *end || value < min || value > max) {
		fprintf(stderr, "vpload: '%s' is not a number of %lu to %lu\n", s, min, max);
		exit(2);
	}
	return value;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "period", required_argument, NULL, 'p' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	unsigned long percent, period = 10;
	int c;

	while ((c = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		if (c == 'p') {
			period = number(optarg, 1, 10000);
		} else {
			help(c == 'h' ? stdout : stderr);
			return c == 'h' ? 0 : 2;
		}
	}
	if (argc - optind != 1) {
		help(stderr);
		return 2;
	}
	percent = number(argv[optind], 0, 100);
	printf("{\"burning\":%lu}\n", percent);
	fflush(stdout);
	while (percent == 100)
		spin();
	burn(period * NS_PER_MS, period * NS_PER_MS * percent / 100);
}
