"""
Networks between the guest's vif and the wire that are more than a bridge: VLANs, Open
vSwitch, jumbo frames, and two guests whose addresses are the same.

A namespace of dom0 is in the peer's place, at the end of a wire of its own: what carries
tags there is the kernel's, and no emulated network card has to.
"""

import contextlib
import copy
import re
import shlex

import pytest

from lab import Host
from net import Talk
from pipes import MIB
from test_network import GUEST2, GUEST2_IPV6, PEER2, PEER2_IPV6, as_sink, as_source, changed, \
    check_offloaded, check_often, check_ordinary, file_for, reached, roles, second_vif

pytestmark = pytest.mark.long

both_families = pytest.mark.parametrize("address", [PEER2, PEER2_IPV6], ids=["IPv4", "IPv6"])


class Inside(Host):
    """A host's network namespace."""

    def __init__(self, host, netns):
        super().__init__(host.name, host.agent, host.via)
        self.netns = netns

    def spawn(self, command, stdin=b""):
        return super().spawn(f"exec ip netns exec {self.netns} sh -c {shlex.quote(command)}", stdin)


@contextlib.contextmanager
def far_end(rig, name="far", port="eth0", more="true"):
    """
    The rig with its peer in a namespace, at the other end of a wire that has its name in
    dom0.  `port`: which has the addresses there, when `more` is done.
    """
    with changed(rig.dom0, f"ip netns add {name} && ip link add {name} type veth peer name eth0"
                           f" netns {name} && ip link set {name} up", f"ip netns del {name}"):
        far = copy.copy(rig)
        far.peer = Inside(rig.dom0, name)
        far.peer.run(f"ip link set lo up; ip link set eth0 up; {more} &&"
                     f" ip addr add {PEER2}/24 dev {port} &&"
                     f" ip addr add {PEER2_IPV6}/64 dev {port} nodad")
        yield far
        rig.port = far.port     # the guest may remember connections to these


# The peer hears and says nothing without a tag.
TAGGED = {"port": "lan",
          "more": "ip link add link eth0 name lan type vlan id 5 && ip link set lan up"}


@contextlib.contextmanager
def bridge(rig, name, port, options=""):
    """In dom0."""
    with changed(rig.dom0, f"ip link add {name} type bridge {options} && ip link set {name} up &&"
                           f" ip link set {port} master {name}", f"ip link del {name}"):
        yield name


def check_both(far, role):
    """Long transfers and short ones, of both families."""
    for address in PEER2, PEER2_IPV6:
        with reached(far, address):
            check_offloaded(far, role)
            check_often(far, role)


# VLANs


@roles
def test_vlan(rig, role):
    """The bridge's other port is a VLAN's."""
    with (far_end(rig, **TAGGED) as far,
          changed(rig.dom0, "ip link add link far name far.5 type vlan id 5 &&"
                            " ip link set far.5 up", "ip link del far.5"),
          bridge(rig, "xenbr5", "far.5") as br, second_vif(far, br)):
        check_both(far, role)


@roles
def test_vlan_filtering(rig, role):
    """The bridge tags what comes from the vif, and takes the tag off."""
    tag = "bridge vlan add vid 5 pvid untagged dev $vif && bridge vlan del vid 1 dev $vif"
    with (far_end(rig, **TAGGED) as far, bridge(rig, "xenbr5", "far", "vlan_filtering 1") as br,
          changed(rig.dom0, "bridge vlan add vid 5 dev far", "bridge vlan del vid 5 dev far"),
          second_vif(far, br, move=tag)):
        check_both(far, role)


@roles
def test_vlan_of_the_guest(rig, role):
    """The guest itself tags: that is not the vif, but another interface above it."""
    with (far_end(rig, **TAGGED) as far, bridge(rig, "xenbr5", "far") as br, second_vif(far, br)):
        rig.guest.run(f"ip addr del {GUEST2}/24 dev eth1; ip addr del {GUEST2_IPV6}/64 dev eth1;"
                      "ip link add link eth1 name lan type vlan id 5 && ip link set lan up &&"
                      f" ip addr add {GUEST2}/24 dev lan &&"
                      f" ip addr add {GUEST2_IPV6}/64 dev lan nodad")
        for address in PEER2, PEER2_IPV6:
            with reached(far, address):
                check_ordinary(far, role, "interface")


# A switch that is no bridge of the kernel's

# What is not of a connection that began before its eyes is dropped.
OVS_STRICT = """
priority=10,tcp,ct_state=-trk,actions=ct(table=1)
priority=10,tcp6,ct_state=-trk,actions=ct(table=1)
table=1,priority=9,ct_state=+trk+inv,actions=drop
table=1,priority=8,tcp,ct_state=+trk+new,tcp_flags=+syn-ack,actions=ct(commit),NORMAL
table=1,priority=8,tcp6,ct_state=+trk+new,tcp_flags=+syn-ack,actions=ct(commit),NORMAL
table=1,priority=7,ct_state=+trk-new+est,actions=NORMAL
table=1,priority=0,actions=drop
"""


@contextlib.contextmanager
def open_vswitch(rig, port):
    """Of the name ovs0, with that port."""
    start = ("mkdir -p /run/openvswitch /etc/openvswitch && modprobe openvswitch && ovsdb-tool"
             " create /etc/openvswitch/conf.db /usr/share/openvswitch/vswitch.ovsschema &&"
             " ovsdb-server --remote=punix:/run/openvswitch/db.sock --pidfile --detach --no-chdir"
             " --log-file=/var/log/ovsdb.log && ovs-vsctl --no-wait init &&"
             " ovs-vswitchd --pidfile --detach --no-chdir --log-file=/var/log/vswitchd.log &&"
             f" ovs-vsctl --timeout=20 add-br ovs0 -- add-port ovs0 {port}")
    stop = ("ovs-vsctl --timeout=20 --if-exists del-br ovs0; kill $(cat /run/openvswitch/*.pid);"
            "while [ -e /run/openvswitch/ovs-vswitchd.pid ]; do usleep 20000; done;"
            "rm -r /etc/openvswitch; rmmod openvswitch")
    with changed(rig.dom0, start, stop):
        yield


def on_switch(options=""):
    """Puts a vif there, as vif-openvswitch does."""
    return ("ip link set $vif nomaster &&"
            f" ovs-vsctl --timeout=20 add-port ovs0 $vif {options}")


@roles
@pytest.mark.parametrize("tag", ["", "tag=5"], ids=["untagged", "tagged"])
def test_open_vswitch(rig, tag, role):
    """Also as an access port: the switch tags, and takes the tag off."""
    with (far_end(rig, **TAGGED if tag else {}) as far, open_vswitch(rig, "far"),
          second_vif(far, move=on_switch(tag))):
        check_both(far, role)


@roles
def test_open_vswitch_firewall(rig, role):
    """Its connection tracking sees nothing strange."""
    with (far_end(rig) as far, open_vswitch(rig, "far"), second_vif(far, move=on_switch())):
        rig.dom0.run("ovs-ofctl add-flows ovs0 -", stdin=OVS_STRICT.encode())
        check_both(far, role)
        flows = rig.dom0.run("ovs-ofctl dump-flows ovs0 table=1").out
        packets = {actions: int(n) for n, actions
                   in re.findall(r"n_packets=(\d+),.* priority=[07]\b.*actions=(\w+)", flows)}
        assert packets["NORMAL"] > 300 and packets["drop"] == 0, flows
        assert re.search(r"n_packets=0,.*\+inv", flows), flows


# Frames of other sizes


def received(far):
    """Bytes and frames that have come to the peer."""
    return [int(n) for n in far.peer.run("cd /sys/class/net/eth0/statistics &&"
                                         " cat rx_bytes rx_packets").out.split()]


@pytest.mark.parametrize("guest, peer", [(9000, 9000), (9000, 1500), (1500, 9000)])
@roles
def test_mtu(rig, guest, peer, role):
    """
    Jumbo frames of both, or of one that knows from the handshake that the other has none, or
    that has none itself though dom0 has: then dom0 sends none for it.  Frames are cut before
    the wire, as they would be by a network card.
    """
    cut = "ethtool -K {} tso off gso off"
    with (far_end(rig, more=f"ip link set eth0 mtu {peer} && {cut.format('eth0')}") as far,
          bridge(rig, "xenbr5", "far") as br,
          second_vif(far, br, move="ip link set $vif mtu 9000 && ip link set far mtu 9000 &&"
                                   f" {cut.format('far')}")):
        rig.guest.run(f"ip link set eth1 mtu {guest}")
        for address in PEER2, PEER2_IPV6:
            with reached(far, address):
                before = received(far)
                check_offloaded(far, role)
                size, count = (now - then for now, then in zip(received(far), before, strict=True))
                if role is as_sink:
                    assert size > 8 * MIB
                    assert (size > 6000 * count) if guest == peer else (size < 1520 * count)
                check_often(far, role)


# Two guests that have the same addresses


@pytest.fixture
def twin(rig):
    """The rig with another guest."""
    other = copy.copy(rig)
    other.guest = rig.lab.create_guest("guest2", data="/dev/ram1")
    domain = rig.dom0.run("xl domid guest2").out.strip()
    rig.load(other.guest)
    other.make_disk(other.guest)
    other.attach("guest2")
    yield other
    other.guest.run("umount /mnt")
    rig.detach("guest2")
    rig.lab.destroy_guest("guest2")
    rig.dom0.run(f"until ! xl domname {domain}; do usleep 50000; done 2>/dev/null", timeout=20)


def alone_on_bridge(stack, rig, name, guest):
    """That guest with a peer of its own, and a bridge on which nobody else is."""
    far = stack.enter_context(far_end(rig, name))
    br = stack.enter_context(bridge(rig, f"br-{name}", name))
    stack.enter_context(second_vif(far, br, guest))
    # A connection gets the first port that the other end does not know.
    ports = "echo {} >/proc/sys/net/ipv4/ip_local_port_range"
    stack.enter_context(changed(rig.guest, ports.format("40000 40001"),
                                ports.format("32768 60999")))
    return far


@both_families
@roles
def test_same_address(rig, twin, role, address):
    """
    At the same time, on two bridges: MAC and IP addresses and ports are the same, of guests
    and peers.  Each connection stays where it is.
    """
    with contextlib.ExitStack() as stack:
        both = [alone_on_bridge(stack, rig, "far", "guest"),
                alone_on_bridge(stack, twin, "far2", "guest2")]
        both[1].port = both[0].port
        for one in both:
            stack.enter_context(reached(one, address))
        talks = [Talk(one, file_for(one), **role(16 * MIB, MIB, slow=True)) for one in both]
        rig.dom0.run("until [ $(cat /sys/bus/xen-backend/devices/vpipe-*/statistics/flows |"
                     " tr -d '\\n') = 11 ]; do usleep 10000; done", timeout=30)
        ends = [one.peer.run("ss -Htn state established").out.split()[2:4] for one in both]
        assert ends[0] == ends[1] and address in ends[0][0], ends
        for talk in talks:
            said = talk.result(timeout=90).sum
            assert (said["offloaded"], said["copied"]) == (17 * MIB, 0), said
        for one in both:
            check_often(one, role)
