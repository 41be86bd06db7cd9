// SPDX-License-Identifier: GPL-2.0
/*
 * netdev.c: "vpipe<handle>", a network device in the domain's private namespace,
 * one for each vif of the guest.  Shadow sockets are bound to it.  What they send
 * gets the guest's MAC address and that of the flow's next hop and is received on
 * the vif; what steer.c takes from the vif's egress is received here.
 *
 * Both ways through a lane, which is a queue with a NAPI of its own: frames stay in
 * order, are counted, and never run the receive path under a socket's lock.
 */
#include <linux/etherdevice.h>
#include <linux/random.h>
#include <linux/rtnetlink.h>
#include <linux/slab.h>
#include <net/net_namespace.h>

#include "vpback.h"

#define MAX_LANE_BYTES	(64 << 20)	/* memory of the frames that wait in a lane */

struct netdev_priv {
	struct vpback_link *link;
};

static LIST_HEAD(all_links);	/* under RTNL */

/* --- lanes ---------------------------------------------------------------------- */

static void lane_put(struct vpback_link *link, struct vpback_lane *lane, struct sk_buff *skb,
		     enum vpback_stat stat)
{
	bool put = false;

	spin_lock(&lane->frames.lock);
	if (skb_queue_len(&lane->frames) < VPBACK_MAX_FRAMES && lane->bytes < MAX_LANE_BYTES) {
		__skb_queue_tail(&lane->frames, skb);
		lane->bytes += skb->truesize;
		lane->put++;
		put = true;
	}
	spin_unlock(&lane->frames.lock);
	if (put) {
		vpback_stat_add(link->dev, stat, 1);
		napi_schedule(&lane->napi);
	} else {
		vpback_stat_add(link->dev, VPBACK_STAT_FRAMES_DROPPED, 1);
		kfree_skb(skb);
	}
}

/* To the shadow sockets; its Ethernet header is in front.  Bottom halves disabled. */
void vpback_netdev_receive(struct vpback_link *link, struct sk_buff *skb)
{
	lane_put(link, &link->in, skb, VPBACK_STAT_FRAMES_IN);
}

/* To the host's network, as if received on the vif.  Bottom halves disabled. */
void vpback_netdev_send(struct vpback_link *link, struct sk_buff *skb)
{
	lane_put(link, &link->out, skb, VPBACK_STAT_FRAMES_OUT);
}

static struct sk_buff *lane_take(struct vpback_lane *lane)
{
	struct sk_buff *skb;

	spin_lock(&lane->frames.lock);
	skb = __skb_dequeue(&lane->frames);
	if (skb)
		lane->bytes -= skb->truesize;
	spin_unlock(&lane->frames.lock);
	return skb;
}

/* What had been taken has arrived. */
static void lane_done(struct vpback_lane *lane)
{
	smp_store_release(&lane->done, lane->done + 1);	/* after what was done with it */
	if (wq_has_sleeper(&lane->wait))
		wake_up_all(&lane->wait);
}

static int lane_end(struct vpback_lane *lane, int done, int budget)
{
	if (done < budget && napi_complete_done(&lane->napi, done) &&
	    !skb_queue_empty_lockless(&lane->frames))
		napi_schedule(&lane->napi);
	return done;
}

/* Until all that is in it now has arrived where it goes; if that goes on at all. */
void vpback_netdev_flush(struct vpback_lane *lane)
{
	u32 put;

	spin_lock_bh(&lane->frames.lock);
	put = lane->put;
	spin_unlock_bh(&lane->frames.lock);
	/* Pairs with the release in lane_done. */
	wait_event_timeout(lane->wait, (s32)(smp_load_acquire(&lane->done) - put) >= 0, HZ);
}

/* Nothing takes frames from it while this runs. */
void vpback_netdev_purge(struct vpback_lane *lane)
{
	struct sk_buff_head frames;

	__skb_queue_head_init(&frames);
	spin_lock_bh(&lane->frames.lock);
	skb_queue_splice_init(&lane->frames, &frames);
	lane->bytes = 0;
	smp_store_release(&lane->done, lane->put);	/* likewise */
	spin_unlock_bh(&lane->frames.lock);
	__skb_queue_purge(&frames);
	wake_up_all(&lane->wait);
}

static void lane_init(struct vpback_lane *lane)
{
	skb_queue_head_init(&lane->frames);
	init_waitqueue_head(&lane->wait);
}

/* --- the device ------------------------------------------------------------------ */

static netdev_tx_t netdev_xmit(struct sk_buff *skb, struct net_device *netdev)
{
	struct vpback_link *link = ((struct netdev_priv *)netdev_priv(netdev))->link;
	struct net_device *vif;
	struct vpback_flow *flow;
	struct ethhdr *eth;

	rcu_read_lock();
	vif = rcu_dereference(link->vif);
	flow = vpback_steer_find_outbound(link, skb);
	if (!vif || !flow || skb_cow_head(skb, 0))
		goto drop;
	eth = eth_hdr(skb);
	ether_addr_copy(eth->h_dest, flow->state.nexthop);
	ether_addr_copy(eth->h_source, link->mac);
	if (__dev_forward_skb(vif, skb))	/* frees it when it fails */
		goto out;
	skb->mark = VPBACK_STEER_MARK;
	vpback_hold_outbound(flow, skb);
	goto out;
drop:
	netdev->stats.tx_dropped++;
	vpback_stat_add(link->dev, VPBACK_STAT_FRAMES_DROPPED, 1);
	kfree_skb(skb);
out:
	rcu_read_unlock();
	return NETDEV_TX_OK;
}

static int netdev_poll_in(struct napi_struct *napi, int budget)
{
	struct vpback_link *link = container_of(napi, struct vpback_link, in.napi);
	struct sk_buff *skb;
	int done = 0;

	while (done < budget && (skb = lane_take(&link->in))) {
		if (!__dev_forward_skb(link->netdev, skb))
			netif_receive_skb(skb);
		lane_done(&link->in);
		done++;
	}
	return lane_end(&link->in, done, budget);
}

static int netdev_poll_out(struct napi_struct *napi, int budget)
{
	struct vpback_link *link = container_of(napi, struct vpback_link, out.napi);
	struct sk_buff *skb;
	int done = 0;

	while (done < budget && (skb = lane_take(&link->out))) {
		netif_receive_skb(skb);
		lane_done(&link->out);
		done++;
	}
	return lane_end(&link->out, done, budget);
}

static int netdev_open(struct net_device *netdev)
{
	struct vpback_link *link = ((struct netdev_priv *)netdev_priv(netdev))->link;

	napi_enable(&link->in.napi);
	napi_enable(&link->out.napi);
	netif_start_queue(netdev);
	return 0;
}

static int netdev_stop(struct net_device *netdev)
{
	struct vpback_link *link = ((struct netdev_priv *)netdev_priv(netdev))->link;

	netif_stop_queue(netdev);
	napi_disable(&link->in.napi);
	napi_disable(&link->out.napi);
	vpback_netdev_purge(&link->in);
	vpback_netdev_purge(&link->out);
	return 0;
}

static const struct net_device_ops netdev_ops = {
	.ndo_open = netdev_open,
	.ndo_stop = netdev_stop,
	.ndo_start_xmit = netdev_xmit,
};

static void netdev_setup(struct net_device *netdev)
{
	ether_setup(netdev);
	netdev->netdev_ops = &netdev_ops;
	netdev->flags |= IFF_NOARP;
	netdev->flags &= ~IFF_MULTICAST;
	netdev->priv_flags |= IFF_NO_QUEUE;
	netdev->max_mtu = ETH_MAX_MTU;
	netdev->features |= NETIF_F_SG | NETIF_F_FRAGLIST | NETIF_F_ALL_TSO |
			    NETIF_F_HW_CSUM | NETIF_F_HIGHDMA | NETIF_F_GSO_SOFTWARE;
	netdev->hw_features = netdev->features;
}

/* The vif of the domain with this handle, held; its name is the toolstack's choice. */
static struct net_device *netdev_find_vif(struct vpback_device *dev, u16 handle)
{
	char path[64], fallback[IFNAMSIZ], *name;
	struct net_device *vif;

	snprintf(path, sizeof(path), "backend/vif/%u/%u", dev->domid, handle);
	name = xenbus_read(XBT_NIL, path, "vifname", NULL);
	snprintf(fallback, sizeof(fallback), "vif%u.%u", dev->domid, handle);
	vif = dev_get_by_name(&init_net, IS_ERR(name) ? fallback : name);
	if (!IS_ERR(name))
		kfree(name);
	return vif;
}

static int netdev_read_mac(struct vpback_device *dev, u16 handle, u8 *mac)
{
	char path[64], *text;
	int ret = -EINVAL;

	snprintf(path, sizeof(path), "backend/vif/%u/%u", dev->domid, handle);
	text = xenbus_read(XBT_NIL, path, "mac", NULL);
	if (IS_ERR(text))
		return PTR_ERR(text);
	if (mac_pton(text, mac) && is_valid_ether_addr(mac))
		ret = 0;
	kfree(text);
	return ret;
}

/* What the host's network carries, the shadow sockets may send.  Under RTNL. */
static void netdev_follow_mtu(struct vpback_link *link, struct net_device *vif)
{
	if (dev_set_mtu(link->netdev, vif->mtu))
		netdev_warn(link->netdev, "cannot have %s's MTU of %u\n", vif->name, vif->mtu);
}

/*
 * A link for a vif, in the namespace, which it keeps; down until the toolstack configures
 * it.  -ENODEV: the host has no such vif, -ENOENT: nor has xenstore.
 */
struct vpback_link *vpback_netdev_create(struct vpback_device *dev, struct net *net, u16 handle)
{
	struct net_device *vif, *netdev;
	struct vpback_link *link;
	char name[IFNAMSIZ];
	int ret, i;

	link = kzalloc(sizeof(*link), GFP_KERNEL);
	if (!link)
		return ERR_PTR(-ENOMEM);
	link->dev = dev;
	link->handle = handle;
	link->hash_seed = get_random_u32();
	spin_lock_init(&link->flows_lock);
	for (i = 0; i < ARRAY_SIZE(link->flows); i++)
		INIT_HLIST_HEAD(&link->flows[i]);
	lane_init(&link->in);
	lane_init(&link->out);

	ret = netdev_read_mac(dev, handle, link->mac);
	if (ret)
		goto err_link;
	vif = netdev_find_vif(dev, handle);
	if (!vif) {
		ret = -ENODEV;
		goto err_link;
	}
	snprintf(name, sizeof(name), "vpipe%u", handle);
	netdev = alloc_netdev(sizeof(struct netdev_priv), name, NET_NAME_USER, netdev_setup);
	if (!netdev) {
		ret = -ENOMEM;
		goto err_vif;
	}
	((struct netdev_priv *)netdev_priv(netdev))->link = link;
	link->netdev = netdev;
	dev_net_set(netdev, net);
	eth_hw_addr_set(netdev, link->mac);
	netif_napi_add(netdev, &link->in.napi, netdev_poll_in);
	netif_napi_add(netdev, &link->out.napi, netdev_poll_out);
	ret = register_netdev(netdev);
	if (ret)
		goto err_netdev;

	rtnl_lock();
	/* Once it is leaving, the notifier has been and will not come again. */
	ret = vif->reg_state == NETREG_REGISTERED ? vpback_steer_hook(link, vif) : -ENODEV;
	if (!ret) {
		rcu_assign_pointer(link->vif, vif);
		list_add(&link->all, &all_links);
		netdev_follow_mtu(link, vif);
	}
	rtnl_unlock();
	if (ret)
		goto err_registered;
	link->net = get_net(net);
	return link;

err_registered:
	unregister_netdev(netdev);
err_netdev:
	free_netdev(netdev);
err_vif:
	dev_put(vif);
err_link:
	kfree(link);
	return ERR_PTR(ret);
}

/* No flow is on it any more. */
void vpback_netdev_destroy(struct vpback_link *link)
{
	rtnl_lock();
	list_del(&link->all);
	vpback_steer_unhook(link);
	rtnl_unlock();
	unregister_netdev(link->netdev);
	vpback_netdev_purge(&link->in);
	vpback_netdev_purge(&link->out);
	free_netdev(link->netdev);
	put_net(link->net);
	kfree(link);
}

/* Under RTNL. */
static int netdev_event(struct notifier_block *nb, unsigned long event, void *ptr)
{
	struct net_device *vif = netdev_notifier_info_to_dev(ptr);
	struct vpback_link *link;

	list_for_each_entry(link, &all_links, all) {
		if (rcu_access_pointer(link->vif) != vif)
			continue;
		if (event == NETDEV_UNREGISTER)
			vpback_steer_unhook(link);
		else if (event == NETDEV_CHANGEMTU)
			netdev_follow_mtu(link, vif);
	}
	return NOTIFY_DONE;
}

static struct notifier_block netdev_notifier = {
	.notifier_call = netdev_event,
};

int vpback_netdev_init(void)
{
	return register_netdevice_notifier(&netdev_notifier);
}

void vpback_netdev_exit(void)
{
	unregister_netdevice_notifier(&netdev_notifier);
}
