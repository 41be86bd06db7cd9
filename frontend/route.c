// SPDX-License-Identifier: GPL-2.0
/*
 * route.c: by which vif a connection leaves the guest, and what stands in the headers
 * of its frames.  A socket of IPv6 may have a connection of IPv4 (RFC 4291, 2.5.5.2).
 */
#include <linux/inetdevice.h>
#include <linux/netdevice.h>
#include <net/dst.h>
#include <net/inet_sock.h>
#include <net/ipv6.h>
#include <net/ipv6_stubs.h>
#include <net/neighbour.h>
#include <net/route.h>

#include "vpfront.h"
#include <vpipe/tcp_carry.h>

/* The vif behind a network device: its handle, from "device/vif/0". */
static int route_vif(struct net_device *dev, u16 *handle)
{
	struct device *parent = dev->dev.parent;
	struct xenbus_device *xbdev;

	if (!parent || !parent->bus || strcmp(parent->bus->name, "xen"))
		return -ENODEV;
	xbdev = to_xenbus_device(parent);
	if (strcmp(xbdev->devicetype, "vif") ||
	    sscanf(xbdev->nodename, "device/vif/%hu", handle) != 1)
		return -ENODEV;
	return 0;
}

/*
 * `owner` has the socket's own address, `peer` is the other end's.  0, an enum vpipe_reason,
 * or -EAGAIN: just now nobody knows where the next hop is.
 */
static int route_link(struct dst_entry *dst, const struct net_device *owner, const void *peer,
		      struct xen_vpipe_tcp_state *st)
{
	struct neighbour *neigh;
	int ret = -EAGAIN;

	/* An address of another interface is rewritten on its way (masquerade). */
	if (owner != dst->dev || route_vif(dst->dev, &st->vif))
		return VPIPE_REASON_ROUTE;
	neigh = dst_neigh_lookup(dst, peer);
	if (!neigh)
		return VPIPE_REASON_ROUTE;
	if (READ_ONCE(neigh->nud_state) & NUD_VALID) {
		neigh_ha_snapshot((char *)st->nexthop, neigh, dst->dev);
		ret = 0;
	}
	/* Whoever sends the frames: it is asked from time to time whether it is still there. */
	neigh_event_send(neigh, NULL);
	neigh_release(neigh);
	return ret;
}

static int route_ipv4(struct sock *sk, struct xen_vpipe_tcp_state *st)
{
	struct inet_sock *inet = inet_sk(sk);
	struct net_device *owner;
	struct dst_entry *dst;

	if (inet->min_ttl || rcu_access_pointer(inet->inet_opt))
		return VPIPE_REASON_SOCKET_TYPE;
	if (inet_sk_rebuild_header(sk))		/* a fresh route, if the old one is stale */
		return VPIPE_REASON_ROUTE;
	dst = __sk_dst_get(sk);
	if (!dst)
		return VPIPE_REASON_ROUTE;
	rcu_read_lock();
	owner = __ip_dev_find(sock_net(sk), inet->inet_saddr, false);
	rcu_read_unlock();

	st->family = 4;
	memcpy(st->local_addr, &inet->inet_saddr, 4);
	memcpy(st->peer_addr, &inet->inet_daddr, 4);
	st->ttl = ip4_dst_hoplimit(dst);
	return route_link(dst, owner, &inet->inet_daddr, st);
}

#if IS_ENABLED(CONFIG_IPV6)
static int route_ipv6(struct sock *sk, struct xen_vpipe_tcp_state *st)
{
	const struct ipv6_pinfo *np = inet6_sk(sk);
	const struct net_device *owner;
	struct dst_entry *dst;

	/* What the shadow would not put into each frame, or ask of the peer's. */
	if (rcu_access_pointer(np->opt) || np->flow_label || np->min_hopcount)
		return VPIPE_REASON_SOCKET_TYPE;
	/* Such an address means something on one link only. */
	if ((ipv6_addr_type(&np->saddr) | ipv6_addr_type(&sk->sk_v6_daddr)) & IPV6_ADDR_LINKLOCAL)
		return VPIPE_REASON_ROUTE;
	if (inet_csk(sk)->icsk_af_ops->rebuild_header(sk))
		return VPIPE_REASON_ROUTE;
	dst = __sk_dst_get(sk);
	if (!dst)
		return VPIPE_REASON_ROUTE;
	/* By the stub: IPv6 may be a module. */
	owner = ipv6_stub->ipv6_dev_find(sock_net(sk), &np->saddr, dst->dev);

	st->family = 6;
	memcpy(st->local_addr, &np->saddr, 16);
	memcpy(st->peer_addr, &sk->sk_v6_daddr, 16);
	st->ttl = ip6_dst_hoplimit(dst);
	return route_link(dst, owner, &sk->sk_v6_daddr, st);
}
#else
static int route_ipv6(struct sock *sk, struct xen_vpipe_tcp_state *st)
{
	return VPIPE_REASON_SOCKET_TYPE;
}
#endif

static int route_look(struct sock *sk, struct xen_vpipe_tcp_state *st)
{
	return vpipe_tcp_is_ipv6(sk) ? route_ipv6(sk, st) : route_ipv4(sk, st);
}

/*
 * Addresses, vif, next hop and default TTL of the socket's frames.  0, or an enum
 * vpipe_reason.  Socket locked.
 */
int vpfront_route_find(struct sock *sk, struct xen_vpipe_tcp_state *st)
{
	int ret = route_look(sk, st);

	st->local_port = (__force u16)inet_sk(sk)->inet_sport;
	st->peer_port = (__force u16)inet_sk(sk)->inet_dport;
	return ret == -EAGAIN ? VPIPE_REASON_ROUTE : ret;
}

/*
 * Would the frames of a connection that is away leave otherwise than it was told the
 * backend?  A next hop that does not answer is none that has changed.  May sleep.
 */
bool vpfront_route_changed(struct vpfront_sock *vs)
{
	struct xen_vpipe_tcp_state now = {};
	bool changed = false;
	int ret;

	/* A freeze that is just going on would take us for somebody who is about to send. */
	if (!READ_ONCE(vs->frozen))
		return false;
	lock_sock(vs->sk);
	if (vs->frozen) {
		ret = route_look(vs->sk, &now);
		changed = READ_ONCE(vs->astray) ||
			  (ret != -EAGAIN &&
			   (ret || now.vif != vs->state.vif ||
			    memcmp(now.nexthop, vs->state.nexthop, sizeof(now.nexthop))));
	}
	release_sock(vs->sk);
	return changed;
}
