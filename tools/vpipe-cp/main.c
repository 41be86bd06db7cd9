// SPDX-License-Identifier: GPL-2.0
/* vpipe-cp: copy files, by the driver domain where it can */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <vpipe.h>

#include "../options.h"
#include "../ordinary.h"
#include "copy.h"
#include "report.h"

static struct {
	bool preserve, force, no_clobber, verbose, progress, json, sync;
	bool only_call;
	enum sparse sparse;
	enum call call;
	int64_t buffer;
} opt = { .buffer = ORDINARY_BUFFER };

static const char *const sparse_names[] = { "auto", "never", "always" };

static void help(FILE *out)
{
	fputs("Usage: vpipe-cp [OPTIONS] SOURCE DEST\n"
	      "       vpipe-cp [OPTIONS] SOURCE... DIRECTORY\n"
	      "Copy files, by the driver domain where it can.\n"
	      "\n"
	      "  -p                keep permissions and times\n"
	      "  -f                remove a destination that cannot be opened\n"
	      "  -n                leave destinations that exist alone\n"
	      "  -v                name each file\n"
	      "  --sparse auto     holes stay holes (default)\n"
	      "  --sparse never    holes become zeros\n"
	      "  --sparse always   zeros become holes too; nothing is offloaded\n"
	      "  --call NAME       by this system call only, nothing is offloaded: read (with\n"
	      "                    write), sendfile, splice, copy_file_range\n"
	      "  --buffer BYTES    with --call read, or the pipe's with --call splice (131072)\n"
	      "  --sync            the data is on the disk before the next file\n"
	      "  --progress        show how far it is\n"
	      "  --json            print one line of JSON for each file\n"
	      "  --help, --version\n"
	      "\n"
	      "Exit status: 0 all was copied, 1 something was not.\n", out);
}

/* What went wrong, on stderr and for the JSON. */
__attribute__((format(printf, 2, 3)))
static const char *fail(const char *text, const char *format, ...)
{
	va_list ap;

	fputs("vpipe-cp: ", stderr);
	va_start(ap, format);
	vfprintf(stderr, format, ap);
	va_end(ap);
	fprintf(stderr, ": %s\n", text);
	return text;
}

static int usage(const char *what, const char *arg)
{
	fprintf(stderr, "vpipe-cp: %s '%s'\nTry 'vpipe-cp --help'.\n", what, arg);
	return 1;
}

/* A destination, or -1 and errno. */
static int open_dest(const char *dest, mode_t mode)
{
	int flags = O_WRONLY | O_CREAT | O_CLOEXEC | O_NOCTTY;
	int fd = open(dest, flags | (opt.no_clobber ? O_EXCL : 0), mode);
	int err = errno;

	if (fd >= 0 || !opt.force || opt.no_clobber || unlink(dest)) {
		errno = err;
		return fd;
	}
	return open(dest, flags | O_EXCL, mode);
}

/* Closes the destination.  Returns what went wrong, or NULL. */
static const char *copy_open(struct copy *c, const struct stat *st, const char *dest)
{
	const struct timespec times[] = { st->st_atim, st->st_mtim };
	struct stat out;
	int err = 0;

	if (fstat(c->out, &out) || (S_ISREG(out.st_mode) && ftruncate(c->out, 0)))
		err = errno;
	if (!err)
		err = copy_data(c);
	if (!err && opt.sync && fsync(c->out))
		err = errno;
	if (!err && opt.preserve && (fchmod(c->out, st->st_mode & 0777) || futimens(c->out, times)))
		err = errno;
	if (close(c->out) && !err)
		err = errno;
	return err ? fail(strerror(err), "cannot copy to '%s'", dest) : NULL;
}

/* Returns what went wrong, or NULL.  *skipped: there is a destination, and -n. */
static const char *copy_file(struct copy *c, const char *source, const char *dest, bool *skipped)
{
	const char *error = NULL;
	struct stat st, out;

	/* A FIFO would wait for a writer. */
	c->in = open(source, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (c->in < 0)
		return fail(strerror(errno), "cannot open '%s'", source);
	if (fstat(c->in, &st))
		error = fail(strerror(errno), "cannot stat '%s'", source);
	else if (S_ISDIR(st.st_mode))
		error = fail("-r not specified; omitting directory", "'%s'", source);
	else if (!S_ISREG(st.st_mode))
		error = fail("not a regular file", "'%s'", source);
	else if (!stat(dest, &out) && out.st_dev == st.st_dev && out.st_ino == st.st_ino)
		error = fail("are the same file", "'%s' and '%s'", source, dest);
	if (!error) {
		c->out = open_dest(dest, st.st_mode & 0777);
		*skipped = c->out < 0 && opt.no_clobber && errno == EEXIST;
		if (c->out >= 0)
			error = copy_open(c, &st, dest);
		else if (!*skipped)
			error = fail(strerror(errno), "cannot create '%s'", dest);
	}
	close(c->in);
	return error;
}

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* Returns the exit status. */
static int copy_one(const char *source, const char *dest)
{
	struct copy c = {
		.name = opt.progress ? source : NULL,
		.sparse = opt.sparse,
		.only_call = opt.only_call,
		.call = opt.call,
		.buffer = (size_t)opt.buffer,
	};
	double start = now();
	bool skipped = false;
	const char *error = copy_file(&c, source, dest, &skipped);

	if (opt.verbose && !error && !skipped && !opt.json)
		printf("'%s' -> '%s'\n", source, dest);
	if (opt.json && !skipped)
		report_json(&c, source, dest, now() - start, error);
	return error ? 1 : 0;
}

static int copy_into(char **sources, int n, const char *dir)
{
	int rc = 0, i, j;

	for (i = 0; i < n; i++) {
		const char *base = basename(sources[i]);
		char *dest;

		for (j = 0; j < i && strcmp(basename(sources[j]), base); j++)
			;
		if (asprintf(&dest, "%s/%s", dir, base) < 0) {
			fail(strerror(ENOMEM), "'%s'", sources[i]);
			return 1;
		}
		if (j < i) {
			fail("will not overwrite what was just copied", "'%s'", dest);
			rc = 1;
		} else {
			rc |= copy_one(sources[i], dest);
		}
		free(dest);
	}
	return rc;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "sparse", required_argument, NULL, 'S' },
		{ "call", required_argument, NULL, 'C' },
		{ "buffer", required_argument, NULL, 'b' },
		{ "sync", no_argument, NULL, 'Y' },
		{ "progress", no_argument, NULL, 'P' },
		{ "json", no_argument, NULL, 'J' },
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'V' },
		{ NULL, 0, NULL, 0 },
	};
	const char *last;
	struct stat st;
	int c;

	while ((c = getopt_long(argc, argv, "pfnvh", options, NULL)) != -1) {
		switch (c) {
		case 'p':
			opt.preserve = true;
			break;
		case 'f':
			opt.force = true;
			break;
		case 'n':
			opt.no_clobber = true;
			break;
		case 'v':
			opt.verbose = true;
			break;
		case 'S':
			for (opt.sparse = 0; opt.sparse < N_SPARSE; opt.sparse++)
				if (!strcmp(optarg, sparse_names[opt.sparse]))
					break;
			if (opt.sparse == N_SPARSE)
				return usage("not a way with holes:", optarg);
			break;
		case 'C':
			if (!option_call(optarg, &opt.call))
				return 1;
			opt.only_call = true;
			break;
		case 'b':
			if (!option_number(optarg, ORDINARY_BUFFER_MAX, &opt.buffer) || !opt.buffer)
				return 1;
			break;
		case 'Y':
			opt.sync = true;
			break;
		case 'P':
			opt.progress = true;
			break;
		case 'J':
			opt.json = true;
			break;
		case 'h':
			help(stdout);
			return 0;
		case 'V':
			puts("vpipe-cp " VPIPE_VERSION);
			return 0;
		default:
			return 1;
		}
	}
	argv += optind;
	argc -= optind;
	if (argc < 2) {
		help(stderr);
		return 1;
	}
	last = argv[argc - 1];
	if (!stat(last, &st) && S_ISDIR(st.st_mode))
		return copy_into(argv, argc - 1, last);
	if (argc > 2)
		return usage("not a directory:", last);
	return copy_one(argv[0], last);
}
