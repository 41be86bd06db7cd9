// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "options.h"

static bool wrong(const char *what, const char *s)
{
	const char *name = program_invocation_short_name;

	fprintf(stderr, "%s: %s '%s'\nTry '%s --help'.\n", name, what, s, name);
	return false;
}

bool option_path(const char *s, const char *const names[N_PATHS], enum path *path)
{
	for (*path = 0; *path < N_PATHS; (*path)++)
		if (!strcmp(s, names[*path]))
			return true;
	return wrong("no such path:", s);
}

bool option_number(const char *s, int64_t max, int64_t *value)
{
	char *end;

	errno = 0;
	*value = strtoll(s, &end, 10);
	if (errno || end == s || *end || *value < 0 || *value > max)
		return wrong("not a number, or too large:", s);
	return true;
}
