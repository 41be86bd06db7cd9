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

enum command {
	ATTACH, DETACH, UPDATE, LIST, SHOW, WEIGHT, CAP, STATS, TOP, CANCEL, CALIBRATE, DAEMON,
};

/* Options by letter; those of a share are letters that nobody can give */
#define SHARE_LETTERS "ABCDE"

static const struct {
	const char *name;
	unsigned int min, max;		/* arguments; the first is a domain */
	const char *arguments;
	const char *options;		/* those it takes, by letter */
} commands[] = {
	[ATTACH] = { "attach", 1, 1, "DOMAIN", "t" SHARE_LETTERS },
	[DETACH] = { "detach", 1, 1, "DOMAIN", "ft" },
	[UPDATE] = { "update", 1, 1, "DOMAIN", "" },
	[LIST] = { "list", 0, 0, "", "j" },
	[SHOW] = { "show", 1, 1, "DOMAIN", "j" },
	[WEIGHT] = { "weight", 2, 2, "DOMAIN NUMBER", "" },
	[CAP] = { "cap", 2, 2, "DOMAIN RATE", "" },
	[STATS] = { "stats", 0, 1, "[DOMAIN]", "j" },
	[TOP] = { "top", 0, 0, "", "joi" },
	[CANCEL] = { "cancel", 1, 2, "DOMAIN [QUEUE:FLOW]", "j" },
	[CALIBRATE] = { "calibrate", 0, 1, "[DOMAIN]", "j" },
	[DAEMON] = { "daemon", 0, 0, "", "p" },
};
#define N_COMMANDS (sizeof(commands) / sizeof(commands[0]))

static const struct option long_options[] = {
	{ "force", no_argument, NULL, 'f' },
	{ "timeout", required_argument, NULL, 't' },
	{ "json", no_argument, NULL, 'j' },
	{ "once", no_argument, NULL, 'o' },
	{ "interval", required_argument, NULL, 'i' },
	{ "policy", required_argument, NULL, 'p' },
	{ "weight", required_argument, NULL, SHARE_LETTERS[SHARE_WEIGHT] },
	{ "cap", required_argument, NULL, SHARE_LETTERS[SHARE_CAP] },
	{ "max-ops", required_argument, NULL, SHARE_LETTERS[SHARE_MAX_OPS] },
	{ "max-chunks", required_argument, NULL, SHARE_LETTERS[SHARE_MAX_CHUNKS] },
	{ "max-held", required_argument, NULL, SHARE_LETTERS[SHARE_MAX_HELD] },
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

static void help(FILE *out)
{
	fputs("Usage: vpipectl [OPTIONS] COMMAND\n"
	      "\n"
	      "Commands:\n"
	      "  attach DOMAIN          give a running domain its vPipe device\n"
	      "  detach DOMAIN          take it away, once the domain has its connections back\n"
	      "  update DOMAIN          serve vifs that it got after that\n"
	      "  list                   show the domains that have one\n"
	      "  show DOMAIN            all about one of them\n"
	      "  weight DOMAIN NUMBER   its share beside the others', 1 to 65535\n"
	      "  cap DOMAIN RATE        its bytes per second at most; none: no cap\n"
	      "  stats [DOMAIN]         show the backend's counters\n"
	      "  top                    watch domains and their operations\n"
	      "  cancel DOMAIN [QUEUE:FLOW]\n"
	      "                         end an operation, or all\n"
	      "  calibrate [DOMAIN]     show the host's capacity, measured anew by DOMAIN\n"
	      "  daemon                 attach those that want it, when they are created\n"
	      "\n"
	      "DOMAIN is a name or a number; RATE a number, also with K, M or G.\n"
	      "\n", out);
	fputs("Options:\n"
	      "  --timeout SECONDS   wait so long for the guest (attach: 5, detach: 30)\n"
	      "  --force             detach: remove the device also when the guest did not\n"
	      "                      take its connections back in time; they are reset\n"
	      "  --weight NUMBER, --cap RATE, --max-ops NUMBER, --max-chunks NUMBER,\n"
	      "  --max-held NUMBER   attach: what it may have\n"
	      "  --json              list, show, stats, top, cancel, calibrate: print JSON\n"
	      "  --once              top: once, as text\n"
	      "  --interval SECONDS  top: between two looks (1)\n"
	      "  --policy FILE       daemon: which domains (" POLICY_FILE ")\n"
	      "  --help, --version\n"
	      "\n"
	      "Exit status: 0 done, 1 failed, 2 wrong usage, 3 no such domain,\n"
	      "4 attached already (attach), not attached (others), nothing there (cancel).\n", out);
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

static bool parse_interval(const char *s, int *ms)
{
	char *end;
	double seconds = strtod(s, &end);

	if (end == s || *end || !(seconds >= 0.1 && seconds <= 3600))
		return false;
	*ms = seconds * 1000;
	return true;
}

/* What comes after the domain */
static bool parse_second(enum command cmd, const char *arg, struct options *opt,
			 struct cancel *cancel)
{
	switch (cmd) {
	case WEIGHT:
		return share_parse(SHARE_WEIGHT, arg, &opt->share.value[SHARE_WEIGHT]);
	case CAP:
		return share_parse(SHARE_CAP, arg, &opt->share.value[SHARE_CAP]);
	default:
		return cancel_parse(arg, cancel);
	}
}

static enum result run(enum command cmd, const struct options *opt, const char *arg,
		       const struct cancel *cancel)
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
	case UPDATE:
		return update_run(domid);
	case LIST:
		return list_run(opt);
	case SHOW:
		return show_run(opt, domid);
	case WEIGHT:
		return limit_run(opt, domid, SHARE_WEIGHT);
	case CAP:
		return limit_run(opt, domid, SHARE_CAP);
	case STATS:
		return stats_run(opt, arg ? &domid : NULL);
	case TOP:
		return top_run(opt);
	case CANCEL:
		return cancel_run(opt, domid, cancel);
	case CALIBRATE:
		return calibrate_run(opt, arg ? &domid : NULL);
	case DAEMON:
		return daemon_run(opt);
	}
	return USAGE;
}

/* false: the value is wrong */
static bool take_option(struct options *opt, int c)
{
	const char *letter = strchr(SHARE_LETTERS, c);

	switch (c) {
	case 'f':
		opt->force = true;
		return true;
	case 't':
		return parse_seconds(optarg, &opt->timeout);
	case 'j':
		opt->json = true;
		return true;
	case 'o':
		opt->once = true;
		return true;
	case 'i':
		return parse_interval(optarg, &opt->interval);
	case 'p':
		opt->policy = optarg;
		return true;
	}
	return share_parse(letter - SHARE_LETTERS, optarg,
			   &opt->share.value[letter - SHARE_LETTERS]);
}

int main(int argc, char **argv)
{
	struct options opt = { .timeout = -1 };
	struct cancel cancel = { .all = true };
	char given[16] = "";
	enum command cmd;
	enum result rc;
	unsigned int n;
	int c;

	share_init(&opt.share);
	opterr = 0;
	while ((c = getopt_long(argc, argv, ":ht:", long_options, NULL)) != -1) {
		switch (c) {
		case 'h':
			help(stdout);
			return OK;
		case 'V':
			printf("vpipectl %s (protocol %d)\n", VPIPE_VERSION,
			       XEN_VPIPE_VERSION);
			return OK;
		case ':':
			return usage("%s needs a value", argv[optind - 1]);
		case '?':
			return usage("unknown option %s", argv[optind - 1]);
		}
		if (!take_option(&opt, c))
			return usage("'%s' is not valid there", optarg);
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
		return usage("arguments are missing: %s", commands[cmd].arguments);
	if (n > commands[cmd].max)
		return usage("too many arguments: '%s'", argv[1 + commands[cmd].max]);
	if (given[strspn(given, commands[cmd].options)])
		return usage("an option was given that does not belong to %s", argv[0]);
	if (n > 1 && !parse_second(cmd, argv[2], &opt, &cancel))
		return usage("'%s' is not valid there", argv[2]);

	if (geteuid()) {
		complain("must be run as root");
		return FAILED;
	}
	catch_signals();
	rc = domain_open();
	if (!rc)
		rc = store_open();
	if (!rc)
		rc = run(cmd, &opt, n ? argv[1] : NULL, &cancel);
	store_close();
	domain_close();
	if (fflush(stdout) && !rc) {
		complain("cannot write the output: %s", strerror(errno));
		rc = FAILED;
	}
	return rc;
}
