"""
Networks that are not one bridge with the guest's only vif on it, and those that change in
the middle of a transfer.
"""

import contextlib
import re

import pytest

import test_handover
from net import Counts, Talk
from pipes import MIB, check
from rig import GUEST, PEER, PEER6, lines

pytestmark = pytest.mark.long

FAR = "198.51.100.10"       # of the peer, behind a gateway
GATEWAY = "198.18.0.254"


@contextlib.contextmanager
def changed(host, do, undo):
    """In this block that is so on the host."""
    try:
        host.run(do)
        yield
    finally:
        host.run(undo)


@contextlib.contextmanager
def reached(rig, address):
    """The guest finds the peer by that address."""
    before, rig.address = rig.address, address
    try:
        yield
    finally:
        rig.address = before


# Both roles, with ordinary calls before and after


def as_sink(*lengths, slow=False):
    return {"steps": " ".join(f"send:1000 recv:300 pipe:{n} recv:300 send:1000" for n in lengths),
            "peer": f"--send {600 * len(lengths)}"
                    + " --rcvbuf 262144 --stall 1000000:150000" * slow}


def as_source(*lengths, slow=False):
    return {"steps": " ".join(f"send:1000 recv:300 pull:{n} recv:300 send:1000" for n in lengths),
            "peer": f"--send {600 * len(lengths) + sum(lengths)}" + " --pace 65536:30000" * slow,
            "options": "--scratch /mnt/scratch"}


roles = pytest.mark.parametrize("role", [as_sink, as_source], ids=lambda role: role.__name__)


def file_for(rig):
    return rig.read_only(64 * MIB)


def check_offloaded(rig, role, length=8 * MIB):
    """All of it goes by dom0."""
    said = Talk(rig, file_for(rig), **role(length)).result().sum
    assert (said["offloaded"], said["copied"]) == (length, 0), said


def check_often(rig, role, count=40):
    """So many short ones, while both ends send."""
    often = {as_sink: test_handover.as_sink, as_source: test_handover.as_source}.get(role, role)
    said = Talk(rig, file_for(rig), **often(count)).result().sum
    assert said["offloaded"] and not said["copied"], said


def check_ordinary(rig, role, reason, length=MIB):
    """None of it does, for that reason."""
    said = Talk(rig, file_for(rig), **role(length)).result().sum
    assert (said["offloaded"], said["copied"]) == (0, length) and reason in said["reason"], said


# Another next hop, in the middle of a transfer


def wait_flows(rig, number):
    rig.dom0.run("until [ $(cat /sys/bus/xen-backend/devices/vpipe-*/statistics/flows) = "
                 f"{number} ]; do usleep 10000; done", timeout=30)


def goes_on(rig, role, change):
    """
    That happens when dom0 has the connection.  The rest of the transfer is the guest's, and
    the next one dom0's again.
    """
    counts = Counts(rig)
    talk = Talk(rig, file_for(rig), **role(32 * MIB if role is as_sink else 16 * MIB, MIB,
                                           slow=True))
    wait_flows(rig, 1)
    change()
    assert not talk.guest.done()
    said = talk.result(timeout=60).sum
    counts.end()
    assert said["offloaded"] >= MIB and said["copied"] > 0 and "route" in said["reason"], said
    assert counts.hand_overs() == 2, counts


@contextlib.contextmanager
def own_mac(rig):
    """The peer may take another one; it is as it was afterwards, and the guest knows."""
    mac = rig.peer.run("cat /sys/class/net/eth0/address").out.strip()
    try:
        yield
    finally:
        rig.peer.run(f"ip link set eth0 address {mac}")
        announce(rig, PEER)
        for host in rig.guest, rig.dom0:
            host.run("ip neigh flush all")


def announce(rig, address):
    """As the new owner of an address does."""
    rig.peer.run(f"arping -U -c 2 -I eth0 {address}", check=False)


def quick_neighbours(rig, **times):
    """The guest looks after its neighbours so often."""
    node = "/proc/sys/net/ipv4/neigh/eth0"
    times = times or {"base_reachable_time_ms": 30000, "delay_first_probe_time": 5,
                      "retrans_time_ms": 1000}
    rig.guest.run("; ".join(f"echo {value} >{node}/{name}" for name, value in times.items()))


@roles
def test_other_mac(rig, role):
    """The peer has another network card, and says so."""
    def change():
        rig.peer.run("ip link set eth0 address 52:54:00:00:00:99")
        announce(rig, PEER)

    with own_mac(rig):
        goes_on(rig, role, change)


@roles
def test_other_mac_unsaid(rig, role):
    """The guest's kernel finds out, as it does for connections of its own."""
    quick_neighbours(rig, base_reachable_time_ms=1000, delay_first_probe_time=1,
                     retrans_time_ms=200)
    try:
        with own_mac(rig):
            goes_on(rig, role, lambda: rig.peer.run("ip link set eth0 address 52:54:00:00:00:99"))
    finally:
        quick_neighbours(rig)


@contextlib.contextmanager
def gateway(rig):
    """The peer's far address is behind dom0, which routes."""
    with (changed(rig.dom0, "sysctl -w net.ipv4.ip_forward=1 net.ipv4.conf.all.send_redirects=0"
                            " net.ipv4.conf.xenbr0.send_redirects=0;"
                            f"ip addr add {GATEWAY}/32 dev xenbr0; ip route add {FAR} via {PEER}",
                  f"sysctl -w net.ipv4.ip_forward=0; ip addr del {GATEWAY}/32 dev xenbr0;"
                  f"ip route del {FAR}"),
          changed(rig.peer, f"ip addr add {FAR}/32 dev lo",
                  f"ip addr del {FAR}/32 dev lo; ip addr del {GATEWAY}/32 dev eth0 || true"),
          changed(rig.guest, f"ip route add {FAR} via {GATEWAY}",
                  f"ip route del {FAR}; ip neigh flush all"),
          reached(rig, FAR)):
        yield


@roles
def test_gateway_moves(rig, role):
    """Another machine is the gateway now."""
    def change():
        rig.dom0.run(f"ip addr del {GATEWAY}/32 dev xenbr0")
        rig.peer.run(f"ip addr add {GATEWAY}/32 dev eth0")
        announce(rig, GATEWAY)

    with gateway(rig):
        check_offloaded(rig, role)
        try:
            goes_on(rig, role, change)
        finally:
            rig.dom0.run(f"ip addr add {GATEWAY}/32 dev xenbr0", check=False)


@roles
def test_other_route(rig, role):
    """The guest has another gateway."""
    with gateway(rig):
        goes_on(rig, role, lambda: rig.guest.run(f"ip route replace {FAR} via {PEER}"))



# Firewalls that do not let pass what conntrack calls invalid

STRICT = """
table inet strict {
    chain judge {
        tcp dport 4711 accept comment "the lab's own"
        tcp sport 4711 accept
        meta l4proto != tcp accept
        ct state established counter accept
        ct state new tcp flags & (syn | ack) == syn accept
        counter drop
    }
    %s
}
"""


@contextlib.contextmanager
def strict(host, *hooks):
    """TCP in the state "established", or that begins: all else is dropped, and nothing is."""
    chains = "\n".join(f"chain {hook} {{ type filter hook {hook} priority 0; jump judge; }}"
                       for hook in hooks)
    host.run("modprobe -a nft_ct nf_conntrack && sysctl -w net.netfilter.nf_conntrack_tcp_loose=0"
             " && nft -f -", stdin=(STRICT % chains).encode())
    try:
        yield
        out = host.run("nft list table inet strict").out
        passed, dropped = (int(n) for n in re.findall(r"counter packets (\d+)", out))
        assert passed > 300 and not dropped, out
    finally:
        host.run("nft delete table inet strict")


@contextlib.contextmanager
def bridge_filtered(host):
    """What passes a bridge of the host passes its firewall."""
    with changed(host, "modprobe br_netfilter && sysctl -w net.bridge.bridge-nf-call-iptables=1"
                       " net.bridge.bridge-nf-call-ip6tables=1", "rmmod br_netfilter"):
        yield


@pytest.mark.parametrize("address", [PEER, PEER6], ids=["ipv4", "ipv6"])
@pytest.mark.parametrize("where", ["guest", "dom0"])
def test_strict_firewall(rig, where, address):
    """It sees nothing strange, in many hand-overs with both ends sending."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(reached(rig, address))
        if where == "dom0":
            stack.enter_context(bridge_filtered(rig.dom0))
            stack.enter_context(strict(rig.dom0, "forward"))
        else:
            stack.enter_context(strict(rig.guest, "input", "output"))
        for role in as_sink, as_source, test_handover.as_both:
            check_often(rig, role)
        for role in as_sink, as_source:
            check_offloaded(rig, role)


# Address translation in the guest

ALIAS, OTHER = "198.18.0.11", "198.18.0.22"     # the peer's, and the guest's
NAT = {
    "dnat": f"chain a {{ type nat hook output priority -100; ip daddr {ALIAS} dnat to {PEER}; }}",
    "snat": "chain a { type nat hook postrouting priority 100;"
            f" ip daddr {ALIAS} snat to {OTHER}; }}",
    "ports": "chain a { type nat hook postrouting priority 100;"
             f" ip daddr {ALIAS} ip protocol tcp masquerade to :20000-21000; }}",
}


@contextlib.contextmanager
def translated(rig, chain):
    """Connections to the peer's other address are translated in the guest."""
    with (changed(rig.peer, f"ip addr add {ALIAS}/32 dev eth0", f"ip addr del {ALIAS}/32 dev eth0"),
          changed(rig.guest, f"ip addr add {OTHER}/32 dev eth0; ping -c 1 {ALIAS} >/dev/null;"
                             f"nft 'table ip translate {{ {chain}; }}'",
                  f"nft delete table ip translate; ip addr del {OTHER}/32 dev eth0")):
        yield


@roles
@pytest.mark.parametrize("how", NAT)
def test_translated(rig, how, role):
    """It has other addresses on the wire than in the socket: by ordinary calls."""
    with translated(rig, NAT[how]):
        check_offloaded(rig, role)      # what is not meant by the rule
        with reached(rig, ALIAS):
            check_ordinary(rig, role, "interface")
    with changed(rig.peer, f"ip addr add {ALIAS}/32 dev eth0", f"ip addr del {ALIAS}/32 dev eth0"):
        with reached(rig, ALIAS):
            check_offloaded(rig, role)


def test_redirected(rig):
    """The same for a connection that comes in, and is for another port."""
    length = 5 * MIB
    rig.peer.run(f"/payload/vptest fill /tmp/pattern 0 {length}")
    port = rig.next_port()
    chain = ("chain a { type nat hook prerouting priority -100;"
             f" tcp dport 81 redirect to :{port}; }}")
    receiver = rig.guest.spawn(f"/payload/vpipe-recv --count 2 {port} /mnt/received")
    receiver.wait_output('"listening"', timeout=20)
    with changed(rig.guest, f"nft 'table ip translate {{ {chain}; }}'",
                 "nft delete table ip translate"):
        for to in 81, port:
            rig.peer.run(f"/payload/vpipe-send /tmp/pattern {GUEST} {to}")
            check(rig, "/mnt/received", 0, length)
    said = [one for one in lines(receiver.wait(timeout=60, check=True).out) if "offloaded" in one]
    assert [one["offloaded"] for one in said] == [0, length], said
    assert "interface" in said[0]["reason"], said


# A second vif, and where it leads

GUEST2, PEER2 = "198.19.0.2", "198.19.0.10"
GUEST2_IPV6, PEER2_IPV6 = "2001:db8:1::2", "2001:db8:1::10"
PLUGGED = f"mac=00:16:3e:00:01:02 'ip={GUEST2} {GUEST2_IPV6}'"


def plug(rig, bridge, name="guest"):
    """The guest gets eth1; what dom0 calls it."""
    rig.dom0.run(f"xl network-attach {name} {PLUGGED} bridge={bridge}", timeout=30)
    rig.guest.run("until [ -e /sys/class/net/eth1 ]; do usleep 20000; done;"
                  f"ip addr add {GUEST2}/24 dev eth1; ip addr add {GUEST2_IPV6}/64 dev eth1 nodad;"
                  "ip link set eth1 up", timeout=20)
    return f"vif{rig.dom0.run(f'xl domid {name}').out.strip()}.1"


def unplug(rig, name="guest"):
    rig.dom0.run(f"xl network-detach {name} 1", timeout=30)
    rig.guest.run("while [ -e /sys/class/net/eth1 ]; do usleep 20000; done", timeout=20)


@contextlib.contextmanager
def second_vif(rig, bridge="xenbr0", name="guest", move=""):
    """
    The guest has eth1 as well, attached.  `move`: what dom0 does with $vif before that, to
    put it elsewhere.
    """
    # Each address only where it is: else the other vif's answers for it too.
    rig.guest.run("sysctl -w net.ipv4.conf.all.arp_ignore=1")
    rig.detach(name)
    vif = plug(rig, bridge, name)
    try:
        rig.dom0.run(f"vif={vif}; {move}")
        rig.attach(name)
        with reached(rig, PEER2):
            yield
    finally:
        rig.detach(name)
        if not rig.guest.run("[ -e /sys/class/net/eth1 ]", check=False).rc:
            unplug(rig, name)
        rig.attach(name)


def on_peer(rig, where="eth0", prefix=24):
    """The peer's address for the second vif."""
    return changed(rig.peer, f"ip addr add {PEER2}/{prefix} dev {where}",
                   f"ip addr del {PEER2}/{prefix} dev {where}")


@roles
def test_unplugged(rig, role):
    """
    The vif goes in the middle of a transfer: the connection stays, as without vPipe, and
    goes on when it is back.  Those of the other vif do not notice.
    """
    with on_peer(rig), second_vif(rig):
        with reached(rig, PEER):
            other = Talk(rig, file_for(rig), **as_sink(48 * MIB, slow=True))
        talk = Talk(rig, file_for(rig), **role(32 * MIB if role is as_sink else 16 * MIB,
                                               slow=True))
        wait_flows(rig, 2)
        unplug(rig)
        wait_flows(rig, 1)
        assert not talk.guest.done() and not other.guest.done()
        plug(rig, "xenbr0")
        said = talk.result(timeout=90).sum
        assert said["offloaded"] > 0 and said["copied"] > 0 and "route" in said["reason"], said
        said = other.result(timeout=90).sum
        assert (said["offloaded"], said["copied"]) == (48 * MIB, 0), said
        # The new one is not served before it is attached.
        check_ordinary(rig, role, "refused")
        with reached(rig, PEER):
            check_offloaded(rig, role)
        rig.detach()
        rig.attach()
        check_offloaded(rig, role)


@roles
def test_other_way_in(rig, role):
    """What the peer sends comes by another vif than that by which the connection leaves."""
    mac = rig.guest.run("cat /sys/class/net/eth0/address").out.strip()
    with (on_peer(rig), second_vif(rig),
          changed(rig.peer, f"ip neigh replace {GUEST2} lladdr {mac} dev eth0 nud permanent",
                  f"ip neigh del {GUEST2} dev eth0")):
        said = Talk(rig, file_for(rig), **role(8 * MIB, MIB)).result(timeout=60).sum
        assert said["copied"] > 4 * MIB and "route" in said["reason"], said


@roles
def test_routed(rig, role):
    """No bridge: dom0 routes, and answers for all there is behind it, as vif-route does."""
    route = (f"ip link set $vif nomaster; ip link set $vif arp on multicast on;"
             f"ip route add {GUEST2}/32 dev $vif; echo 1 >/proc/sys/net/ipv4/conf/$vif/proxy_arp")
    with (on_peer(rig, "lo", 32),
          changed(rig.peer, f"ip route add {GUEST2} via 198.18.0.1", f"ip route del {GUEST2}"),
          changed(rig.dom0, f"sysctl -w net.ipv4.ip_forward=1; ip route add {PEER2} via {PEER}",
                  f"sysctl -w net.ipv4.ip_forward=0; ip route del {PEER2}"),
          second_vif(rig, move=route)):
        check_offloaded(rig, role)
        check_often(rig, role)
