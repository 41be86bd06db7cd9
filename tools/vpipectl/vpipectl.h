/* SPDX-License-Identifier: GPL-2.0 */
/*
 * vpipectl: give a running guest its vPipe device and take it away again.
 *
 *   main.c        arguments and commands
 *   domain.c      which domains there are, and what they are called
 *   store.c       xenstore: reading, transactions, waiting
 *   device.c      one vPipe device: its nodes, states, sysfs directory, removal
 *   attribute.c   files of sysfs
 *   netns.c       the network namespaces of the guest's shadow sockets
 *   lock.c        who may change a domain's device just now
 *   attach.c  detach.c  list.c  stats.c  limit.c  cancel.c  calibrate.c  top.c  daemon.c
 *                 the commands
 *   sample.c      what the domains do; screen.c: where top shows it
 *   share.c  policy.c  operation.c  json.c
 *                 text to numbers and back; they know nothing of Xen
 */
#ifndef VPIPECTL_H
#define VPIPECTL_H

#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <xenstore.h>

#include "json.h"
#include "operation.h"
#include "share.h"

/* Exit codes, see vpipectl(8) */
enum result {
	OK = 0,
	FAILED = 1,
	USAGE = 2,
	NO_DOMAIN = 3,
	WRONG_STATE = 4,	/* attached already, or not attached; nothing to cancel */
};

struct options {
	bool json;
	bool force;
	bool once;
	int timeout;		/* seconds; -1: the command's default */
	int interval;		/* ms; 0: likewise */
	const char *policy;	/* NULL: POLICY_FILE */
	struct share share;
};

/* main.c */
extern volatile sig_atomic_t interrupted;	/* by SIGINT, SIGTERM or SIGHUP */
void complain(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* attribute.c */
bool attribute_read(const char *dir, const char *name, char *value, size_t size);
bool attribute_number(const char *dir, const char *name, long long *value);
bool attribute_write(const char *path, const char *value);

/* domain.c */
typedef void (*domain_visit)(unsigned int domid, const char *uuid, void *arg);

void domain_each(domain_visit visit, void *arg);
enum result domain_open(void);
void domain_close(void);
bool domain_alive(unsigned int domid);
char *domain_name(unsigned int domid);
enum result domain_find(const char *arg, unsigned int *domid);

/* store.c */
typedef enum result (*store_body)(xs_transaction_t t, void *arg);
typedef bool (*store_test)(void *arg);

enum result store_open(void);
void store_close(void);
bool store_exists(xs_transaction_t t, const char *path);
char *store_read(xs_transaction_t t, const char *dir, const char *node);
int store_number(xs_transaction_t t, const char *dir, const char *node);
bool store_write(xs_transaction_t t, const char *dir, const char *node,
		 const char *value);
bool store_mkdir(xs_transaction_t t, const char *path, unsigned int owner,
		 unsigned int reader);
bool store_remove(xs_transaction_t t, const char *path, unsigned int parents);
char **store_list(xs_transaction_t t, const char *path, unsigned int *n);
enum result store_transaction(store_body body, void *arg);
int store_wait(const char *const *paths, store_test test, void *arg, int seconds);
long long store_now_ms(void);
bool store_watch(const char *path, const char *token, bool on);
int store_fd(void);
char *store_event(void);

/* device.c */
#define DEVICE_ROOT	"/local/domain/0/backend/vpipe"
#define DEVICE_DRIVER	"/sys/bus/xen-backend/drivers/vpipe"
#define DEVICE_WISH	"/local/domain/%u/vpipe"	/* for the daemon, by a toolstack */
#define DEVICE_PATH_MAX	128

struct device {
	unsigned int domid;
	char backend[DEVICE_PATH_MAX];
	char frontend[DEVICE_PATH_MAX];
	char sysfs[DEVICE_PATH_MAX];
};

void device_init(struct device *dev, unsigned int domid);
const char *device_state_name(int state);
enum result device_check(const struct device *dev);
int device_backend_state(xs_transaction_t t, const struct device *dev);
int device_frontend_state(xs_transaction_t t, const struct device *dev);
int device_wait(const struct device *dev, store_test test, void *arg, int seconds);
void device_explain(const struct device *dev);
bool device_remove_nodes(xs_transaction_t t, const struct device *dev);
enum result device_remove(const struct device *dev);
bool device_await_unplug(const struct device *dev);
unsigned int *device_domains(unsigned int *n);
bool device_sweep(bool wait);

/* lock.c */
#define LOCK_DAEMON	65536	/* beyond all domains */

enum result lock_take(unsigned int what);
bool lock_try(unsigned int what);
void lock_give(unsigned int what);

/* limit.c */
bool limit_write(xs_transaction_t t, const char *dir, const struct share *share);
void limit_read(xs_transaction_t t, const char *dir, struct share *share);

/* the commands */
#define POLICY_FILE	"/etc/vpipe/domains.conf"

struct cancel {
	bool all;
	unsigned int queue, flow;
};

enum result attach_run(const struct options *opt, unsigned int domid);
enum result update_run(unsigned int domid);
enum result detach_run(const struct options *opt, unsigned int domid);
enum result list_run(const struct options *opt);
enum result show_run(const struct options *opt, unsigned int domid);
enum result stats_run(const struct options *opt, const unsigned int *domid);
enum result limit_run(const struct options *opt, unsigned int domid, enum share_item item);
bool cancel_parse(const char *text, struct cancel *cancel);
enum result cancel_run(const struct options *opt, unsigned int domid, const struct cancel *cancel);
enum result calibrate_run(const struct options *opt, const unsigned int *domid);
enum result top_run(const struct options *opt);
void operations_print(FILE *out, const struct operations *ops, unsigned int max);
enum result daemon_run(const struct options *opt);

/* netns.c */
enum result netns_hand_over(const struct device *dev);
enum result netns_update(const struct device *dev);

#endif
