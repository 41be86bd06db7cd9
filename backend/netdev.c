// SPDX-License-Identifier: GPL-2.0
/*
 * netdev.c: "vpipe<handle>", a network device in the domain's private namespace,
 * one for each vif of the guest.  Shadow sockets are bound to it.  What they send
 * gets the guest's MAC address and that of the flow's next hop and is received on
 * the vif; what steer.c takes from the vif's egress is received here.
 *
 * Both ways through a queue and a NAPI of our own: frames stay in order, are
 * counted, and never run the receive path under a socket's lock.
 */
#include <linux/etherdevice.h>
#include <linux/random.h>
#include <linux/rtnetlink.h>
#include <linux/slab.h>
#include <net/net_namespace.h>

#include "vpback.h"

struct netdev_priv {
	struct vpback_link *link;
};

static LIST_HEAD(all_links);	/* under RTNL */

static netdev_tx_t netdev_xmit(struct sk_buff *skb, struct net_device *netdev)
{
	struct vpback_link *link = ((struct netdev_priv *)netdev_priv(netdev))->link;
	struct net_device *vif;
	struct vpback_flow *flow;
	struct ethhdr *eth;

	rcu_read_lock();
	vif = rcu_dereference(link->vif);
	flow = vpback_steer_find_outbound(link, skb);
	if (!vif || !flow || skb_cow_head(skb, 0) ||
	    skb_queue_len_lockless(&link->out) >= VPBACK_MAX_FRAMES)
		goto drop;
	eth = eth_hdr(skb);
	ether_addr_copy(eth->h_dest, flow->state.nexthop);
	ether_addr_copy(eth->h_source, link->mac);
	if (__dev_forward_skb(vif, skb))	/* frees it when it fails */
		goto out;
	vpback_stat_add(link->dev, VPBACK_STAT_FRAMES_OUT, 1);
	skb->mark = VPBACK_STEER_MARK;
	skb_queue_tail(&link->out, skb);
	napi_schedule(&link->out_napi);
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
	struct vpback_link *link = container_of(napi, struct vpback_link, in_napi);
	struct sk_buff *skb;
	int done = 0;

	while (done < budget && (skb = skb_dequeue(&link->in))) {
		if (!__dev_forward_skb(link->netdev, skb))
			netif_receive_skb(skb);
		done++;
	}
	if (done < budget && napi_complete_done(napi, done) && !skb_queue_empty(&link->in))
		napi_schedule(napi);
	return done;
}

static int netdev_poll_out(struct napi_struct *napi, int budget)
{
	struct vpback_link *link = container_of(napi, struct vpback_link, out_napi);
	struct sk_buff *skb;
	int done = 0;

	while (done < budget && (skb = skb_dequeue(&link->out))) {
		netif_receive_skb(skb);
		done++;
	}
	if (done < budget && napi_complete_done(napi, done) && !skb_queue_empty(&link->out))
		napi_schedule(napi);
	return done;
}

static int netdev_open(struct net_device *netdev)
{
	struct vpback_link *link = ((struct netdev_priv *)netdev_priv(netdev))->link;

	napi_enable(&link->in_napi);
	napi_enable(&link->out_napi);
	netif_start_queue(netdev);
	return 0;
}

static int netdev_stop(struct net_device *netdev)
{
	struct vpback_link *link = ((struct netdev_priv *)netdev_priv(netdev))->link;

	netif_stop_queue(netdev);
	napi_disable(&link->in_napi);
	napi_disable(&link->out_napi);
	skb_queue_purge(&link->in);
	skb_queue_purge(&link->out);
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

/* A link for a vif, in dev->net; down until the toolstack configures it. */
struct vpback_link *vpback_netdev_create(struct vpback_device *dev, u16 handle)
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
	skb_queue_head_init(&link->in);
	skb_queue_head_init(&link->out);

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
	dev_net_set(netdev, dev->net);
	eth_hw_addr_set(netdev, link->mac);
	netif_napi_add(netdev, &link->in_napi, netdev_poll_in);
	netif_napi_add(netdev, &link->out_napi, netdev_poll_out);
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
	skb_queue_purge(&link->in);
	skb_queue_purge(&link->out);
	free_netdev(link->netdev);
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
