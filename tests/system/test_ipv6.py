"""Connections of IPv6: all of it as for IPv4."""

import pytest

from pipes import MIB, check, relay, source, take
from rig import GUEST, GUEST6, PEER, PEER6, lines


@pytest.fixture
def rig6(rig):
    rig.address = PEER6
    yield rig
    rig.address = PEER


def test_lengths(rig6):
    file = rig6.fill("small-pieces", 2 * MIB)
    pipes = ((0, 1), (1, 511), (4095, 2), (1023, 8191), (12345, 1234567), (2 * MIB - 1, 1))
    steps = " ".join(f"send:{77 * n} pipe:{at}:{length}" for n, (at, length) in enumerate(pipes, 1))
    sent = rig6.send(file, f"{steps} send:1")[0]
    assert sent["offloaded"] == sum(length for _, length in pipes)


def test_alternating(rig6):
    file = rig6.fill("alternate", 4 * MIB)
    sent = rig6.send(file, "send:1000 pipe:12345:20000 send:1 pipe:0:100001", repeat=10)[0]
    assert sent["offloaded"] == 10 * (20000 + 100001)


def test_peer_talks_back(rig6):
    """What the client sends meanwhile arrives at the guest's socket, in order."""
    file = rig6.fill("talk", 16 * MIB)
    client, port = rig6.client("talk", after=5 * MIB, talk=200000)
    sent = rig6.run(file, "pipe:0:all recv:200000 send:10", port)[0]
    got = client.wait(timeout=60, check=True).out
    assert f'"sha256":"{sent["sha256"]}"' in got
    assert sent["offloaded"] == 16 * MIB and sent["received"] == 200000


def test_link_local(rig6):
    """Such an address means nothing to the driver domain: by ordinary calls."""
    file = rig6.fill("small-pieces", 2 * MIB)
    address = rig6.peer.run("ip -o -6 addr show dev eth0 scope link").out.split()[3]
    sink, port = rig6.sink()
    sent = lines(rig6.guest.run(f"/payload/vpipe-send {file} {address.split('/')[0]}%eth0 {port}",
                                timeout=30).out)[-1]
    got = lines(sink.wait(timeout=30, check=True).out)[-1]
    assert got["bytes"] == 2 * MIB and got["sha256"] == rig6.pattern_hash(2 * MIB)
    assert sent["offloaded"] == 0 and "interface" in sent["reason"], sent


def test_nothing_else_leaves(rig6):
    """No solicitation and no report of the namespace's own: they would be dropped."""
    rig6.detach()
    rig6.attach()
    dropped = "cat /sys/bus/xen-backend/devices/vpipe-*/statistics/frames_dropped_total"
    assert rig6.dom0.run(f"sleep 2; {dropped}").out == "0\n"


@pytest.mark.long
def test_concurrent(rig6):
    file = rig6.fill("many", 16 * MIB)
    sent = rig6.send(file, "send:100 pipe:0:1000000 pipe:5000000:1000000 send:7", connections=32,
                     timeout=300)
    assert sum(one["offloaded"] for one in sent) == 32 * 2000000


@pytest.mark.long
def test_full_send_queue(rig6):
    """Much unacknowledged and unsent data travels along."""
    file = rig6.fill("queue", 1 * MIB)
    sent = rig6.send(file, "send:3000000 pipe:1:1000000", repeat=3)[0]
    assert sent["offloaded"] == 3000000


@pytest.mark.long
def test_receive(rig6):
    for length in 4096, MIB + 3, 20 * MIB:
        rig6.guest.run("rm -f /mnt/received")
        took = take(rig6, "/mnt/received", 0, length)
        assert took["moved"] == length and took["offloaded"] == length // 4096 * 4096
        assert check(rig6, "/mnt/received", 0, length) == length


@pytest.mark.long
def test_accepted(rig6):
    """The guest's socket was made by a listening one, for both families."""
    port = rig6.next_port()
    receiver = rig6.guest.spawn(f"/payload/vpipe-recv --count 2 {port} /mnt/accepted")
    receiver.wait_output('"listening"', timeout=20)
    rig6.peer.run(f"/payload/vptest fill /tmp/pattern 0 {5 * MIB}")
    for address in GUEST6, GUEST:
        rig6.peer.run(f"/payload/vpipe-send /tmp/pattern {address} {port}")
    said = lines(receiver.wait(timeout=60, check=True).out)
    assert [one["offloaded"] for one in said if "offloaded" in one] == [5 * MIB] * 2, said
    rig6.peer.run("rm /tmp/pattern")


@pytest.mark.long
@pytest.mark.parametrize("sender, receiver", [(PEER6, PEER6), (PEER, PEER6), (PEER6, PEER)])
def test_relay(rig6, sender, receiver):
    """From either family to either."""
    rig6.address = receiver
    for length in 1, MIB + 3, 40 * MIB:
        said, got = relay(rig6, length, sender=sender)
        assert said["moved"] == said["offloaded"] == got["bytes"] == length
        assert got["sha256"] == rig6.pattern_hash(length)


@pytest.mark.long
def test_reset(rig6):
    """A peer that resets the connection, which is the backend's by then."""
    job, port = source(rig6, 10 * MIB, "reset")
    took = lines(rig6.guest.run("rm -f /mnt/reset; /payload/vptest take "
                                f"{PEER6} {port} /mnt/reset 0 {20 * MIB}", timeout=60).out)[0]
    job.wait(timeout=30)
    assert took["end"] == 104 or took["errno"] == 104, took


@pytest.mark.long
def test_address_not_allowed(rig6):
    """Where xenstore names addresses of IPv4 only, IPv6 is left to the guest."""
    node = "/local/domain/0/backend/vif/$(xl domid guest)/0/ip"
    before = rig6.dom0.run(f"xenstore-read {node}").out.strip()
    assert before == f"{GUEST} {GUEST6}"
    file = rig6.fill("small-pieces", 2 * MIB)
    try:
        for allowed, offloaded in ((GUEST, 0), ("nonsense", 0), ("2001:db8::77", 0),
                                   ("2001:DB8:0::2/64", 2 * MIB)):
            rig6.detach()
            rig6.dom0.run(f"xenstore-write {node} '{allowed}'")
            rig6.attach()
            sent = rig6.send(file, "pipe:0:all", offloaded=False)[0]
            assert sent["bytes"] == 2 * MIB and sent["offloaded"] == offloaded, allowed
    finally:
        rig6.detach()
        rig6.dom0.run(f"xenstore-write {node} '{before}'")
        rig6.attach()


@pytest.mark.long
@pytest.mark.parametrize("ip, router, peer, far, length", [
    ("ip", "198.18.0.1", PEER, "198.18.1.10", 32),
    ("ip -6", "2001:db8::1", PEER6, "2001:db8:1::10", 128)])
def test_path_mtu(rig, ip, router, peer, far, length):
    """dom0 routes to a far address of the peer's, and less fits there than through the vif."""
    rig.dom0.run("sysctl -w net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1"
                 " net.ipv4.conf.all.send_redirects=0 net.ipv4.conf.xenbr0.send_redirects=0;"
                 f"{ip} route add {far} via {peer} dev xenbr0 mtu lock 1300")
    rig.peer.run(f"{ip} addr add {far}/{length} dev eth0")
    rig.guest.run(f"{ip} route add {far} via {router}")
    rig.address = far
    try:
        file = rig.fill("path", 4 * MIB)
        for _ in range(2):
            assert rig.send(file, "pipe:0:all send:3000 pipe:1:1000000",
                            timeout=60)[0]["offloaded"] == 5 * MIB - (MIB - 1000000)
    finally:
        rig.address = PEER
        rig.guest.run(f"{ip} route del {far}")
        rig.peer.run(f"{ip} addr del {far}/{length} dev eth0")
        rig.dom0.run(f"{ip} route del {far}")
        rig.dom0.run("sysctl -w net.ipv4.ip_forward=0 net.ipv6.conf.all.forwarding=0")
