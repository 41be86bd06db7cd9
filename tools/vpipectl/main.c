// SPDX-License-Identifier: GPL-2.0
/* vpipectl: arguments and commands */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xen/interface/io/vpipe.h>

#include "vpipectl.h"

enum command { ATTACH, DETACH, LIST, STATS };

static const struct {
	const char *name;
	unsigned int min, max;		/* arguments */
	const char *options;		/* those it takes, by letter */
} commands[] = {
	[ATTACH] = { "attach", 1, 1, "t" },
	[DETACH] = { "detach", 1, 1, "ft" },
	[LIST] = { "list", 0, 0, "j" },
	[STATS] = { "stats", 0, 1, "j" },
};
#define N_COMMANDS (sizeof(commands) / sizeof(commands[0]))

static const struct option long_options[] = {
	{ "force", no_argument, NULL, 'f' },
	{ "timeout", required_argument, NULL, 't' },
	{ "json", no_argument, NULL, 'j' },
	{ "help", no_argument, NULL, 'h' },
	{ "version", no_argument, NULL, 'V' },
	{ NULL, 0, NULL, 0 },
};

volatile sig_atomic_t interrupted;

static void on_signal(int sig)
{
	interrupted = sig;
}

/* Without SA_RESTART: a signal ends a wait, and what was begun is undone */
static void catch_signals(void)
{
	struct sigaction sa = { .sa_handler = on_signal };

	sigaction(SIGINT, &sa, NULL);
	sigaction(SIGTERM, &sa, NULL);
	sigaction(SIGHUP, &sa, NULL);
	signal(SIGPIPE, SIG_IGN);
}

void complain(const char *format, ...)
{
	va_list ap;

	fflush(stdout);
	fputs("vpipectl: ", stderr);
	va_start(ap, format);
	vfprintf(stderr, format, ap);
	va_end(ap);
	fputc('\n', stderr);
}

void json_string(const char *s)
{
	putchar('"');
	for (; *s; s++) {
		if (*s == '"' || *s == '\\')
			printf("\\%c", *s);
		else if ((unsigned char)*s < 0x20 || *s == 0x7f)
			printf("\\u%04x", *s);
		else
			putchar(*s);
	}
	putchar('"');
}

static void help(FILE *out)
{
	fputs("Usage: vpipectl [OPTIONS] COMMAND\n"
	      "\n"
	      "Commands:\n"
	      "  attach DOMAIN    give a running domain its vPipe device\n"
	      "  detach DOMAIN    take it away, once the domain has its connections back\n"
	      "  list             show the domains that have one\n"
	      "  stats [DOMAIN]   show the backend's counters\n"
	      "\n"
	      "DOMAIN is a name or a number.\n"
	      "\n"
	      "Options:\n"
	      "  --timeout SECONDS   wait so long for the guest (attach: 5, detach: 30)\n"
	      "  --force             detach: remove the device also when the guest did not\n"
	      "                      take its connections back in time; they are reset\n"
	      "  --json              list, stats: print JSON\n"
	      "  --help, --version\n"
	      "\n"
	      "Exit status: 0 done, 1 failed, 2 wrong usage, 3 no such domain,\n"
	      "4 attached already (attach) or not attached (detach, stats).\n", out);
}

static enum result usage(const char *what, const char *arg)
{
	complain(what, arg);
	fputs("Try 'vpipectl --help'.\n", stderr);
	return USAGE;
}

static bool parse_seconds(const char *s, int *seconds)
{
	char *end;
	long n;

	errno = 0;
	n = strtol(s, &end, 10);
	if (errno || end == s || *end || n < 0 || n > 86400)
		return false;
	*seconds = n;
	return true;
}

static enum result run(enum command cmd, const struct options *opt, const char *arg)
{
	unsigned int domid = 0;
	enum result rc = OK;

	if (arg)
		rc = domain_find(arg, &domid);
	if (rc)
		return rc;

	switch (cmd) {
	case ATTACH:
		return attach_run(opt, domid);
	case DETACH:
		return detach_run(opt, domid);
	case LIST:
		return list_run(opt);
	case STATS:
		return list_stats(opt, arg ? &domid : NULL);
	}
	return USAGE;
}

int main(int argc, char **argv)
{
	struct options opt = { .timeout = -1 };
	char given[8] = "";
	enum command cmd;
	enum result rc;
	unsigned int n;
	int c;

	opterr = 0;
	while ((c = getopt_long(argc, argv, ":ht:", long_options, NULL)) != -1) {
		switch (c) {
		case 'f':
			opt.force = true;
			break;
		case 't':
			if (!parse_seconds(optarg, &opt.timeout))
				return usage("'%s' is not a number of seconds", optarg);
			break;
		case 'j':
			opt.json = true;
			break;
		case 'h':
			help(stdout);
			return OK;
		case 'V':
			printf("vpipectl %s (protocol %d)\n", VPIPE_VERSION,
			       XEN_VPIPE_VERSION);
			return OK;
		case ':':
			return usage("%s needs a value", argv[optind - 1]);
		default:
			return usage("unknown option %s", argv[optind - 1]);
		}
		if (!strchr(given, c))
			given[strlen(given)] = c;
	}
	argc -= optind;
	argv += optind;

	if (!argc)
		return usage("no command%s", "");
	for (cmd = 0; cmd < N_COMMANDS; cmd++)
		if (!strcmp(argv[0], commands[cmd].name))
			break;
	if (cmd == N_COMMANDS)
		return usage("unknown command '%s'", argv[0]);
	n = argc - 1;
	if (n < commands[cmd].min)
		return usage("%s needs a domain", argv[0]);
	if (n > commands[cmd].max)
		return usage("too many arguments: '%s'", argv[1 + commands[cmd].max]);
	if (given[strspn(given, commands[cmd].options)])
		return usage("an option was given that does not belong to %s", argv[0]);

	if (geteuid()) {
		complain("must be run as root");
		return FAILED;
	}
	catch_signals();
	rc = domain_open();
	if (!rc)
		rc = store_open();
	if (!rc)
		rc = run(cmd, &opt, n ? argv[1] : NULL);
	store_close();
	domain_close();
	if (fflush(stdout) && !rc) {
		complain("cannot write the output: %s", strerror(errno));
		rc = FAILED;
	}
	return rc;
}
