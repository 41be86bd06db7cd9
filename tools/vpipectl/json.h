/* SPDX-License-Identifier: GPL-2.0 */
/*
 * json.h: JSON to stdio.  Each value has a key in an object, and none (NULL) in an
 * array; commas come by themselves.
 */
#ifndef JSON_H
#define JSON_H

#include <stdbool.h>
#include <stdio.h>

struct json {
	FILE *out;
	bool comma;		/* a value was before this one */
};

void json_open(struct json *json, const char *key, char bracket);
void json_close(struct json *json, char bracket);
void json_string(struct json *json, const char *key, const char *value);
void json_number(struct json *json, const char *key, long long value);
void json_boolean(struct json *json, const char *key, bool value);
void json_null(struct json *json, const char *key);

#endif
