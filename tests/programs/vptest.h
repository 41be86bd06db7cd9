/* SPDX-License-Identifier: GPL-2.0 */
/* vptest.h: what the parts of vptest share. */
#ifndef VPTEST_H
#define VPTEST_H

/* The old calls: the new ones pull all of OpenSSL into a static program. */
#define OPENSSL_SUPPRESS_DEPRECATED
#include <openssl/sha.h>
#include <stddef.h>
#include <stdint.h>

#include "pattern.h"

/* SHA-256 on the way */
struct hash {
	SHA256_CTX ctx;
	uint64_t bytes;
};

void hash_begin(struct hash *hash);
void hash_add(struct hash *hash, const void *data, size_t len);
const char *hash_end(struct hash *hash);	/* hex, until the next call of this thread */

int tcp_connect(const char *host, const char *port);
int tcp_listen(const char *port);
void send_all(int fd, const void *data, size_t len);

/* Print a message and exit with 1. */
void die(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));

int cmd_run(int argc, char **argv);
int cmd_client(int argc, char **argv);
int cmd_bad(int argc, char **argv);
int cmd_forge(int argc, char **argv);
int cmd_flood(int argc, char **argv);
int cmd_fill(int argc, char **argv);
int cmd_interleave(int argc, char **argv);
int cmd_hash(int argc, char **argv);
int cmd_grants(int argc, char **argv);
int cmd_source(int argc, char **argv);
int cmd_take(int argc, char **argv);
int cmd_copy(int argc, char **argv);
int cmd_relay(int argc, char **argv);
int cmd_check(int argc, char **argv);
int cmd_sift(int argc, char **argv);
int cmd_scribble(int argc, char **argv);
int cmd_latency(int argc, char **argv);
int cmd_verity(int argc, char **argv);
int cmd_twice(int argc, char **argv);
int cmd_echo(int argc, char **argv);
int cmd_talk(int argc, char **argv);
int cmd_duplex(int argc, char **argv);
int cmd_tcppeer(int argc, char **argv);
int cmd_meddle(int argc, char **argv);
int cmd_pour(int argc, char **argv);
int cmd_pump(int argc, char **argv);
int cmd_crowd(int argc, char **argv);
int cmd_hold(int argc, char **argv);
int cmd_meter(int argc, char **argv);

#endif /* VPTEST_H */
