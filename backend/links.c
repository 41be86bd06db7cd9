// SPDX-License-Identifier: GPL-2.0
/*
 * links.c: which links a device has, one for each vif of its guest (netdev.c), and
 * which of them a flow uses.
 *
 * The first are made when the toolstack gives the device its namespace, before any
 * frontend; later ones, for vifs that were plugged in since, each time it asks, in a
 * namespace that the toolstack has made for them.  The link of a vif that has gone
 * stays until its last flow has, and somebody asks.
 */
#include <linux/inet.h>
#include <linux/slab.h>
#include <net/net_namespace.h>

#include "vpback.h"

static bool links_parse_address(const char *word, struct in6_addr *addr)
{
	u8 ipv4[4];

	if (!in4_pton(word, -1, ipv4, '/', NULL))
		return in6_pton(word, -1, addr->s6_addr, '/', NULL);
	vpback_steer_address(4, ipv4, addr);
	return true;
}

/*
 * The addresses that xenstore allows on a vif ("ip" in the xl configuration), of both
 * families: when it names some of one, none of the other are allowed.  Where it says
 * none all are; where it cannot be asked, or understood, that is not known.
 */
static int links_read_addresses(struct vpback_device *dev, struct vpback_link *link)
{
	char path[64], *text, *at, *word;

	snprintf(path, sizeof(path), "backend/vif/%u/%u", dev->domid, link->handle);
	text = xenbus_read(XBT_NIL, path, "ip", NULL);
	link->any_addr = true;
	if (IS_ERR(text))
		return PTR_ERR(text) == -ENOENT ? 0 : PTR_ERR(text);
	for (at = text; (word = strsep(&at, " ,")); ) {
		if (!*word)
			continue;
		link->any_addr = false;
		if (link->nr_addrs < ARRAY_SIZE(link->addr) &&
		    links_parse_address(word, &link->addr[link->nr_addrs]))
			link->nr_addrs++;
		else
			dev_warn_ratelimited(&dev->xbdev->dev,
					     "domain %u: vif %u: nothing is served from %s\n",
					     dev->domid, link->handle, word);
	}
	kfree(text);
	return 0;
}

static bool links_address_allowed(const struct vpback_link *link,
				  const struct xen_vpipe_tcp_state *st)
{
	struct in6_addr local;
	unsigned int i;

	if (link->any_addr)
		return true;	/* left to the host's anti-spoofing rules */
	vpback_steer_address(st->family, st->local_addr, &local);
	for (i = 0; i < link->nr_addrs; i++)
		if (!memcmp(&link->addr[i], &local, sizeof(local)))
			return true;
	return false;
}

/* The link of the vif with this handle, which is there.  Under links_lock. */
static struct vpback_link *links_find(struct vpback_device *dev, u16 handle)
{
	struct vpback_link *link;

	list_for_each_entry(link, &dev->links, node)
		if (link->handle == handle && rcu_access_pointer(link->vif))
			return link;
	return NULL;
}

/*
 * The link for a connection, to be put when nothing uses it any more; -EPERM: not from
 * this address, -ENODEV: there is none, or none that is configured.  May sleep.
 */
struct vpback_link *vpback_links_get(struct vpback_device *dev,
				     const struct xen_vpipe_tcp_state *st)
{
	struct vpback_link *link;

	mutex_lock(&dev->links_lock);
	link = links_find(dev, st->vif);
	if (!link || !netif_running(link->netdev))
		link = ERR_PTR(-ENODEV);
	else if (!links_address_allowed(link, st))
		link = ERR_PTR(-EPERM);
	else
		link->users++;
	mutex_unlock(&dev->links_lock);
	return link;
}

void vpback_links_put(struct vpback_link *link)
{
	struct vpback_device *dev = link->dev;

	mutex_lock(&dev->links_lock);
	link->users--;
	mutex_unlock(&dev->links_lock);
}

static int links_add(struct vpback_device *dev, struct net *net, u16 handle)
{
	struct vpback_link *link, *found;
	int ret;

	mutex_lock(&dev->links_lock);
	found = links_find(dev, handle);
	mutex_unlock(&dev->links_lock);
	if (found)
		return 0;
	link = vpback_netdev_create(dev, net, handle);
	if (IS_ERR(link))
		return PTR_ERR(link);
	ret = links_read_addresses(dev, link);
	if (ret) {
		vpback_netdev_destroy(link);
		return ret;
	}
	mutex_lock(&dev->links_lock);
	list_add_tail(&link->node, &dev->links);
	mutex_unlock(&dev->links_lock);
	return 1;
}

/* For each vif that has none, in `net`; how many, or an error.  With dev->lock. */
static int links_make(struct vpback_device *dev, struct net *net)
{
	int made = 0, ret = 0;
	char path[64], **vifs;
	unsigned int nr, i;
	u16 handle;

	snprintf(path, sizeof(path), "backend/vif/%u", dev->domid);
	vifs = xenbus_directory(XBT_NIL, path, "", &nr);
	if (IS_ERR(vifs))
		return -ENODEV;
	for (i = 0; ret >= 0 && i < nr; i++) {
		if (kstrtou16(vifs[i], 10, &handle))
			continue;
		ret = links_add(dev, net, handle);
		if (ret == -ENODEV || ret == -ENOENT)
			ret = 0;	/* it is just coming, or going */
		made += ret > 0;
	}
	kfree(vifs);
	return ret < 0 ? ret : made;
}

/*
 * Those of vifs that have gone, and those which nobody has finished to configure, when
 * no flow uses them; or all.  With dev->lock.
 */
static void links_remove(struct vpback_device *dev, bool all)
{
	struct vpback_link *link, *next;
	LIST_HEAD(removed);

	mutex_lock(&dev->links_lock);
	list_for_each_entry_safe(link, next, &dev->links, node)
		if (all || (!link->users && (!rcu_access_pointer(link->vif) ||
					     !netif_running(link->netdev))))
			list_move(&link->node, &removed);
	mutex_unlock(&dev->links_lock);
	list_for_each_entry_safe(link, next, &removed, node)
		vpback_netdev_destroy(link);
}

/* The end of all: no flow is there any more.  With dev->lock. */
void vpback_links_drop(struct vpback_device *dev)
{
	links_remove(dev, true);
	if (dev->net)
		put_net(dev->net);
	dev->net = NULL;
}

/* Give the device the namespace (a reference is taken), and make its links there. */
int vpback_links_set_netns(struct vpback_device *dev, struct net *net)
{
	int ret = -EBUSY;

	if (net == &init_net)
		return -EINVAL;		/* the host's own routes are no place for it */
	mutex_lock(&dev->lock);
	if (!dev->net) {
		dev->net = get_net(net);
		ret = links_make(dev, net);
		if (!ret)
			ret = -ENODEV;
		if (ret < 0)
			vpback_links_drop(dev);
	}
	mutex_unlock(&dev->lock);
	return min(ret, 0);
}

/*
 * Links for the vifs that came later, in a namespace of their own; and an end of those
 * of vifs that went.  A link is used when it is up.  -ENODEV: there is nothing to make.
 */
int vpback_links_update(struct vpback_device *dev, struct net *net)
{
	int ret = -EINVAL;

	if (net == &init_net)
		return -EINVAL;
	mutex_lock(&dev->lock);
	if (dev->configured) {
		links_remove(dev, false);
		ret = links_make(dev, net);
		if (!ret)
			ret = -ENODEV;
	}
	mutex_unlock(&dev->lock);
	return min(ret, 0);
}

/* The handles of the vifs that are served, as a line; a page is enough for 600. */
ssize_t vpback_links_show(struct vpback_device *dev, char *buf)
{
	struct vpback_link *link;
	ssize_t len = 0;

	mutex_lock(&dev->links_lock);
	list_for_each_entry(link, &dev->links, node)
		if (rcu_access_pointer(link->vif) && netif_running(link->netdev))
			len += sysfs_emit_at(buf, len, "%s%u", len ? " " : "", link->handle);
	mutex_unlock(&dev->links_lock);
	return len + sysfs_emit_at(buf, len, "\n");
}

/* What the vifs have carried by themselves, both ways; one that went takes its part along. */
u64 vpback_links_bytes(struct vpback_device *dev)
{
	struct rtnl_link_stats64 stats;
	struct vpback_link *link;
	struct net_device *vif;
	u64 bytes = 0;

	mutex_lock(&dev->links_lock);
	list_for_each_entry(link, &dev->links, node) {
		rcu_read_lock();
		vif = rcu_dereference(link->vif);
		if (vif) {
			dev_get_stats(vif, &stats);
			bytes += stats.rx_bytes + stats.tx_bytes;
		}
		rcu_read_unlock();
	}
	mutex_unlock(&dev->links_lock);
	return bytes;
}
