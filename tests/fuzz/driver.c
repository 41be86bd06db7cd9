// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * driver.c: what libFuzzer's main does, without its skill, for hosts that lack it:
 * seeded random input for some seconds, or the inputs that are given as files.
 *
 *   driver [--seconds N] [--seed N]
 *   driver FILE...
 *
 * The input of a run that ends by abort() is left in ./crash-input.
 */
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "input.h"
#include "../unit/random.h"

#define MAX_INPUT	4200U	/* a page of extents and what goes with it */

static uint8_t input[MAX_INPUT];
static size_t input_size;

static void save_input(int sig)
{
	int fd = open("crash-input", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	if (fd < 0 || write(fd, input, input_size) != (ssize_t)input_size)
		_exit(2);
	signal(sig, SIG_DFL);
	raise(sig);
}

static int replay(const char *path)
{
	FILE *file = fopen(path, "rb");

	if (!file) {
		perror(path);
		return 1;
	}
	input_size = fread(input, 1, sizeof(input), file);
	fclose(file);
	LLVMFuzzerTestOneInput(input, input_size);
	return 0;
}

/* Short ones mostly; bytes that are small or all ones more often than by chance. */
static void make_input(struct random *r)
{
	input_size = random_below(r, 1 + random_below(r, 1 + random_below(r, MAX_INPUT)));
	for (size_t i = 0; i < input_size; i++) {
		uint64_t n = random_u64(r);

		input[i] = n % 8 == 0 ? 0 : n % 8 == 1 ? 0xff : n % 8 == 2 ? (n >> 8) % 16 : n >> 8;
	}
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "seconds", required_argument, NULL, 's' },
		{ "seed", required_argument, NULL, 'r' },
		{ 0 }
	};
	struct random r = { random_seed() };
	struct timespec start, now;
	unsigned long runs = 0;
	long seconds = 5;
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (option == 's')
			seconds = strtol(optarg, NULL, 0);
		else if (option == 'r')
			r.state = strtoull(optarg, NULL, 0);
		else
			return 2;
	}
	for (; optind < argc; optind++, seconds = 0)
		if (replay(argv[optind]))
			return 2;
	signal(SIGABRT, save_input);
	clock_gettime(CLOCK_MONOTONIC, &start);
	for (now = start; now.tv_sec - start.tv_sec < seconds; ) {
		make_input(&r);
		LLVMFuzzerTestOneInput(input, input_size);
		if (++runs % 1024 == 0)
			clock_gettime(CLOCK_MONOTONIC, &now);
	}
	printf("%lu inputs in %ld seconds\n", runs, seconds);
	return 0;
}
