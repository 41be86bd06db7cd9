// SPDX-License-Identifier: GPL-2.0
/* vpipectl: the policy file of the daemon */
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "policy.h"

#define SPACE	" \t\r"

static bool parse_word(struct policy_rule *rule, const char *word)
{
	unsigned int i;

	if (!strcmp(word, "never")) {
		rule->never = true;
		return true;
	}
	for (i = 0; i < SHARE_ITEMS; i++) {
		size_t n = strlen(share_node[i]);

		if (!strncmp(word, share_node[i], n) && word[n] == '=')
			return share_parse(i, word + n + 1, &rule->share.value[i]);
	}
	return false;
}

/* NULL, or the word that it does not understand */
static const char *parse_line(struct policy *policy, char *line)
{
	struct policy_rule *rule = &policy->rule[policy->nr];
	char *save = NULL, *word = strtok_r(line, SPACE, &save);

	if (!word || *word == '#')
		return NULL;
	rule->uuid = !strncmp(word, "uuid:", 5);
	rule->pattern = rule->uuid ? word + 5 : word;
	rule->never = false;
	share_init(&rule->share);
	if (!*rule->pattern)
		return word;
	while ((word = strtok_r(NULL, SPACE, &save)) && *word != '#')
		if (!parse_word(rule, word))
			return word;
	policy->nr++;
	return NULL;
}

/*
 * All of the text, or nothing: then an error of at most size bytes says why.  The
 * policy is to be freed in the first case.
 */
bool policy_parse(struct policy *policy, const char *text, char *error, size_t size)
{
	char *line, *next;
	unsigned int lines = 1, number = 0;
	const char *bad;

	for (const char *p = text; *p; p++)
		lines += *p == '\n';
	policy->nr = 0;
	policy->text = strdup(text);
	policy->rule = calloc(lines, sizeof(*policy->rule));
	if (!policy->text || !policy->rule) {
		snprintf(error, size, "out of memory");
		policy_free(policy);
		return false;
	}
	for (line = policy->text; line; line = next) {
		next = strchr(line, '\n');
		if (next)
			*next++ = '\0';
		number++;
		bad = parse_line(policy, line);
		if (bad) {
			snprintf(error, size, "line %u: '%.60s' is not understood", number, bad);
			policy_free(policy);
			return false;
		}
	}
	return true;
}

/* The first rule for a domain; name or UUID may be unknown (NULL) */
const struct policy_rule *policy_find(const struct policy *policy, const char *name,
				      const char *uuid)
{
	unsigned int i;

	for (i = 0; i < policy->nr; i++) {
		const struct policy_rule *rule = &policy->rule[i];
		const char *what = rule->uuid ? uuid : name;

		if (what && !fnmatch(rule->pattern, what, 0))
			return rule;
	}
	return NULL;
}

void policy_free(struct policy *policy)
{
	free(policy->text);
	free(policy->rule);
	policy->text = NULL;
	policy->rule = NULL;
	policy->nr = 0;
}
