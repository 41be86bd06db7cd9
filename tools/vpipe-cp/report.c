// SPDX-License-Identifier: GPL-2.0
#include <inttypes.h>
#include <stdio.h>
#include <vpipe.h>

#include "copy.h"
#include "report.h"

static void print_string(const char *s)
{
	putchar('"');
	for (; *s; s++) {
		if (*s == '"' || *s == '\\')
			putchar('\\');
		if ((unsigned char)*s < 0x20)
			printf("\\u%04x", *s);
		else
			putchar(*s);
	}
	putchar('"');
}

static void print_string_or_null(const char *name, const char *s)
{
	printf(",\"%s\":", name);
	if (s)
		print_string(s);
	else
		fputs("null", stdout);
}

void report_json(const struct copy *c, const char *source, const char *dest,
		 double seconds, const char *error)
{
	uint64_t bytes = c->offloaded + c->ordinary;
	const char *reason = NULL;

	if (c->sparse == SPARSE_ALWAYS || c->only_call)
		reason = "not asked for";
	else if (c->reason != VPIPE_DECLINED_NOT)
		reason = vpipe_reason_string(c->reason);
	fputs("{\"source\":", stdout);
	print_string(source);
	fputs(",\"destination\":", stdout);
	print_string(dest);
	printf(",\"bytes\":%" PRIu64 ",\"offloaded\":%" PRIu64 ",\"ordinary\":%" PRIu64
	       ",\"seconds\":%.6f,\"mb_per_s\":%.1f", bytes, c->offloaded, c->ordinary,
	       seconds, seconds > 0 ? (double)bytes / seconds / 1e6 : 0);
	print_string_or_null("reason", reason);
	print_string_or_null("error", error);
	puts("}");
	fflush(stdout);
}
