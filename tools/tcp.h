/* SPDX-License-Identifier: GPL-2.0 */
/*
 * tcp.h: make connections
 *
 * Descriptors are close-on-exec.  What fails returns -1 and has said why.
 */
#ifndef VPIPE_TOOLS_TCP_H
#define VPIPE_TOOLS_TCP_H

#include <netinet/in.h>

/* listen.c: on all addresses; port 0 is any free one.  Prints {"listening":PORT}. */
int tcp_listen(unsigned int port);

/* `peer` may be NULL; it may hold a sockaddr_in as well. */
int tcp_accept(int listener, struct sockaddr_in6 *peer);

/* connect.c */
int tcp_connect(const char *host, const char *port);

/*
 * Send the end, and wait until the peer has closed in its turn: then it has all.  What
 * it sends meanwhile is dropped.  Returns 0 or an errno and says nothing.
 */
int tcp_finish(int sock);

#endif
