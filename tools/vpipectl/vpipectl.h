/* SPDX-License-Identifier: GPL-2.0 */
/*
 * vpipectl: give a running guest its vPipe device and take it away again.
 *
 *   main.c    arguments and commands
 *   domain.c  which domains there are, and what they are called
 *   store.c   xenstore: reading, transactions, waiting
 *   device.c  one vPipe device: its nodes, states, sysfs directory, removal
 *   attach.c  detach.c  list.c   the commands
 *   netns.c   the network namespace of the guest's shadow sockets
 */
#ifndef VPIPECTL_H
#define VPIPECTL_H

#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <xenstore.h>

/* Exit codes, see vpipectl(8) */
enum result {
	OK = 0,
	FAILED = 1,
	USAGE = 2,
	NO_DOMAIN = 3,
	WRONG_STATE = 4,	/* attached already, or not attached */
};

struct options {
	bool json;
	bool force;
	int timeout;		/* seconds; -1: the command's default */
};

/* main.c */
extern volatile sig_atomic_t interrupted;	/* by SIGINT, SIGTERM or SIGHUP */
void complain(const char *format, ...) __attribute__((format(printf, 1, 2)));
void json_string(const char *s);

/* domain.c */
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

/* device.c */
#define DEVICE_ROOT	"/local/domain/0/backend/vpipe"
#define DEVICE_DRIVER	"/sys/bus/xen-backend/drivers/vpipe"
#define DEVICE_PATH_MAX	128

struct device {
	unsigned int domid;
	char backend[DEVICE_PATH_MAX];
	char frontend[DEVICE_PATH_MAX];
	char sysfs[DEVICE_PATH_MAX];
};

void device_init(struct device *dev, unsigned int domid);
const char *device_state_name(int state);
int device_backend_state(xs_transaction_t t, const struct device *dev);
int device_frontend_state(xs_transaction_t t, const struct device *dev);
int device_wait(const struct device *dev, store_test test, void *arg, int seconds);
void device_explain(const struct device *dev);
bool device_remove_nodes(xs_transaction_t t, const struct device *dev);
enum result device_remove(const struct device *dev);
bool device_await_unplug(const struct device *dev);
unsigned int *device_domains(unsigned int *n);
void device_sweep(void);

/* the commands */
enum result attach_run(const struct options *opt, unsigned int domid);
enum result detach_run(const struct options *opt, unsigned int domid);
enum result list_run(const struct options *opt);
enum result list_stats(const struct options *opt, const unsigned int *domid);

/* netns.c */
enum result netns_hand_over(const struct device *dev);

#endif
