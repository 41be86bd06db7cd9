// SPDX-License-Identifier: GPL-2.0
/*
 * conntrack.c: what this kernel's connection tracking knows of a connection, if it is
 * loaded at all: it is asked by symbol_get(), and nf_ct_put(), which is its own, is not
 * used, so that nobody gets it because of us.
 *
 * A connection that is translated here has other addresses on the wire, and stays.  Of
 * one that goes, conntrack sees no frames for a while, and would find those that come
 * after that outside of every window ("invalid"): it is told to be liberal with it.
 */
#include <linux/module.h>
#include <net/sock.h>

#include "vpfront.h"

#if IS_ENABLED(CONFIG_NF_CONNTRACK)
#include <net/netfilter/nf_conntrack.h>
#include <net/netfilter/nf_conntrack_core.h>
#include <net/netfilter/nf_conntrack_zones.h>

/* How long an entry is kept whose end it did not see: as long as TIME_WAIT's. */
#define CLOSED_TIMEOUT		(2 * 60 * HZ)

/* ... and one that sees nothing for a while; the first frame after that sets its own. */
#define AWAY_TIMEOUT		(5 * 24 * 60 * 60 * HZ)

static struct nf_conn *conntrack_find(struct sock *sk, const struct xen_vpipe_tcp_state *st)
{
	static const struct nf_conntrack_zone zone = { .dir = NF_CT_DEFAULT_ZONE_DIR };
	u32 len = st->family == 4 ? 4 : 16;
	struct nf_conntrack_tuple tuple = {};
	struct nf_conntrack_tuple_hash *hash;
	typeof(nf_conntrack_find_get) *find;

	find = symbol_get(nf_conntrack_find_get);
	if (!find)
		return NULL;
	tuple.src.l3num = st->family == 4 ? NFPROTO_IPV4 : NFPROTO_IPV6;
	tuple.dst.protonum = IPPROTO_TCP;
	tuple.dst.dir = IP_CT_DIR_ORIGINAL;
	memcpy(&tuple.src.u3, st->local_addr, len);
	memcpy(&tuple.dst.u3, st->peer_addr, len);
	tuple.src.u.tcp.port = (__force __be16)st->local_port;
	tuple.dst.u.tcp.port = (__force __be16)st->peer_port;
	hash = find(sock_net(sk), &zone, &tuple);
	symbol_put(nf_conntrack_find_get);
	return hash ? nf_ct_tuplehash_to_ctrack(hash) : NULL;
}

/* 0, or the enum vpipe_reason why it must stay; the addresses are in st. */
int vpfront_conntrack_leave(struct sock *sk, const struct xen_vpipe_tcp_state *st)
{
	struct nf_conn *ct = conntrack_find(sk, st);
	int ret = 0;

	if (!ct)
		return 0;
	if (ct->status & IPS_NAT_MASK) {
		ret = VPIPE_REASON_ROUTE;
	} else {
		spin_lock_bh(&ct->lock);
		ct->proto.tcp.seen[0].flags |= IP_CT_TCP_FLAG_BE_LIBERAL;
		ct->proto.tcp.seen[1].flags |= IP_CT_TCP_FLAG_BE_LIBERAL;
		spin_unlock_bh(&ct->lock);
		WRITE_ONCE(ct->timeout, nfct_time_stamp + AWAY_TIMEOUT);
	}
	nf_conntrack_put(&ct->ct_general);
	return ret;
}

/* It has ended elsewhere; without that its entry would stay for days. */
void vpfront_conntrack_closed(struct sock *sk, const struct xen_vpipe_tcp_state *st)
{
	struct nf_conn *ct = conntrack_find(sk, st);

	if (!ct)
		return;
	WRITE_ONCE(ct->timeout, nfct_time_stamp + CLOSED_TIMEOUT);
	nf_conntrack_put(&ct->ct_general);
}
#else
int vpfront_conntrack_leave(struct sock *sk, const struct xen_vpipe_tcp_state *st)
{
	return 0;
}

void vpfront_conntrack_closed(struct sock *sk, const struct xen_vpipe_tcp_state *st)
{
}
#endif
