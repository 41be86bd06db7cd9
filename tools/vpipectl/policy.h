/* SPDX-License-Identifier: GPL-2.0 */
/*
 * policy.h: which domains `vpipectl daemon` attaches, and what they may have.  A file
 * of lines; pure logic.
 *
 *   # a comment
 *   web-*                                      weight=512 cap=200M
 *   uuid:5f3c1c0e-8c11-4e2c-9d5b-0d7f4ad6a001  weight=1024
 *   db1                                        never
 *
 * A line is a pattern, as the shell's, for a domain's name or (uuid:) its UUID in small
 * letters, and then words: those of share.h with a value, or "never".  The first line
 * that fits counts; a domain that none fits is not attached.
 */
#ifndef POLICY_H
#define POLICY_H

#include <stdbool.h>
#include <stddef.h>

#include "share.h"

struct policy_rule {
	const char *pattern;		/* points into the policy's text */
	bool uuid;			/* ... and is for that */
	bool never;
	struct share share;
};

struct policy {
	char *text;
	struct policy_rule *rule;
	unsigned int nr;
};

bool policy_parse(struct policy *policy, const char *text, char *error, size_t size);
const struct policy_rule *policy_find(const struct policy *policy, const char *name,
				      const char *uuid);
void policy_free(struct policy *policy);

#endif
