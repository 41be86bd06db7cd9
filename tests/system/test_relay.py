"""Socket to socket: a stream from one connection into another."""

import errno

import pytest

from pipes import MIB, check, relay, source, start_relay
from rig import PEER, lines

pytestmark = pytest.mark.long


@pytest.mark.parametrize("length", [0, 1, 4097, MIB + 3, 40 * MIB])
def test_lengths(rig, length):
    said, got = relay(rig, length)
    assert said["moved"] == said["offloaded"] == got["bytes"] == length
    assert got["sha256"] == rig.pattern_hash(length)


def test_by_reference(rig):
    """
    Most bytes of a bulk stream are not copied; unless the sink is so slow that the source's
    kernel has packed what waits (TCPRcvCollapsed) into pages that nobody else may have.
    """
    def referenced():
        return int(rig.dom0.run("cat /sys/bus/xen-backend/devices/vpipe-*/statistics/"
                                "referenced_bytes_total").out)
    shares = []
    while not shares or max(shares) < 0.75 and len(shares) < 5:
        before = referenced()
        said, got = relay(rig, 64 * MIB)
        assert said["offloaded"] == got["bytes"] == 64 * MIB
        assert got["sha256"] == rig.pattern_hash(64 * MIB)
        shares.append((referenced() - before) / (64 * MIB))
        assert shares[-1] <= 1
    assert max(shares) >= 0.75, shares


def test_until_the_end(rig):
    said, got = relay(rig, 1 << 40, sent=9 * MIB + 77)
    assert said["moved"] == said["offloaded"] == got["bytes"] == 9 * MIB + 77
    assert said["errno"] == said["rest"] == 0 and got["sha256"] == rig.pattern_hash(9 * MIB + 77)


def test_rest_stays(rig):
    """What is behind the length is still to be read; so nothing was lost or repeated."""
    said, got = relay(rig, 5 * MIB + 1, sent=20 * MIB)
    assert said["moved"] == got["bytes"] == 5 * MIB + 1 and got["sha256"] == rig.pattern_hash(5 * MIB + 1)
    assert said["rest"] == 15 * MIB - 1


def test_slow_sink(rig):
    """Its window closes: the source has to wait too, and memory stays bounded."""
    job, client, relaying = start_relay(rig, "stall", after=MIB, length=48 * MIB)
    rig.dom0.run("last=-1; while now=$(cat /sys/bus/xen-backend/devices/vpipe-*/statistics/chunks);"
                 " [ $now != $last ]; do last=$now; usleep 300000; done; [ $now -le 160 ]",
                 timeout=30)
    assert not job.done()
    client.write(b"on\n")
    said = lines(relaying.wait(timeout=60, check=True).out)[0]
    got = lines(client.wait(timeout=30, check=True).out)[-1]
    assert said["moved"] == said["offloaded"] == got["bytes"] == 48 * MIB
    assert got["sha256"] == rig.pattern_hash(48 * MIB)


def test_slow_source(rig):
    """What has come is passed on at once."""
    job, client, relaying = start_relay(rig, "read", after=100000, length=MIB, pause=100000)
    job.write(b"on\n")
    assert lines(relaying.wait(timeout=60, check=True).out)[0]["moved"] == MIB
    assert lines(client.wait(timeout=30, check=True).out)[-1]["sha256"] == rig.pattern_hash(MIB)


def test_sink_resets(rig):
    """What the sink did not take is still in the source."""
    job, client, relaying = start_relay(rig, "reset", after=2 * MIB, length=16 * MIB)
    said = lines(relaying.wait(timeout=60, check=True).out)[0]
    assert 2 * MIB <= said["moved"] and said["errno"] in (0, 32, 104)
    assert said["moved"] + said["rest"] == 16 * MIB
    client.wait(timeout=30)


def test_sink_half_closes(rig):
    """Its FIN comes while offloaded: the stream goes on, and what it had said is there."""
    job, client, relaying = start_relay(rig, "halfclose", after=MIB, talk=100000, length=16 * MIB)
    said, back = lines(relaying.wait(timeout=60, check=True).out)
    got = lines(client.wait(timeout=30, check=True).out)[-1]
    assert said["moved"] == said["offloaded"] == got["bytes"] == 16 * MIB
    assert got["sha256"] == rig.pattern_hash(16 * MIB) and (back["back"], back["end"]) == (100000, 0)
    assert lines(job.wait(timeout=30, check=True).out)[-1]["answered"] == 100


def test_source_resets(rig):
    job, client, relaying = start_relay(rig, "read", after=MIB, length=8 * MIB, end="reset",
                                  pause=2 * MIB)
    job.write(b"on\n")
    said = lines(relaying.wait(timeout=60, check=True).out)[0]
    got = lines(client.wait(timeout=30, check=True).out)[-1]
    assert said["moved"] + said["rest"] <= 8 * MIB and got["bytes"] == said["moved"] >= 2 * MIB
    assert got["sha256"] == rig.pattern_hash(got["bytes"]) and 104 in (said["errno"], said["end"])


def test_killed(rig):
    """With the sink stalled, and reading."""
    for what in "stall", "read":
        job, client, relaying = start_relay(rig, what, after=3 * MIB, length=256 * MIB)
        rig.guest.run("killall -9 vptest")
        relaying.wait(timeout=20)
        rig.no_flows()      # what is queued for a stalled sink is the guest's business
        if what == "stall":
            client.write(b"on\n")
        assert lines(client.wait(timeout=30, check=True).out)[-1]["bytes"] < 256 * MIB
        job.kill()
        job.wait(timeout=20)
        rig.settle()


def test_detach_in_the_middle(rig):
    job, client, relaying = start_relay(rig, "stall", after=3 * MIB, length=32 * MIB)
    detaching = rig.dom0.spawn("/payload/vpipectl detach guest")
    client.write(b"on\n")
    detaching.wait(timeout=60, check=True)
    said = lines(relaying.wait(timeout=120, check=True).out)[0]
    got = lines(client.wait(timeout=30, check=True).out)[-1]
    assert said["moved"] == got["bytes"] == 32 * MIB and got["sha256"] == rig.pattern_hash(32 * MIB)
    assert said["errno"] == 0 and said["copied"] > 0
    rig.attach()


def test_many(rig):
    sources = [source(rig, 2 * MIB + i) for i in range(16)]
    sinks = [rig.sink() for _ in range(16)]
    relays = [rig.guest.spawn(f"/payload/vptest relay {PEER} {port} {PEER} {to} {1 << 40}")
              for (_, port), (_, to) in zip(sources, sinks)]
    for i, job in enumerate(relays):
        said = lines(job.wait(timeout=120, check=True).out)[0]
        assert said["moved"] == said["offloaded"] == 2 * MIB + i
    for i, (sink, _) in enumerate(sinks):
        assert lines(sink.wait(timeout=30, check=True).out)[-1]["sha256"] == rig.pattern_hash(2 * MIB + i)


def test_to_itself(rig):
    """The connection is taken once: the ordinary way, and it is free again."""
    client, port = rig.client("talk", talk=500000)
    said = lines(rig.guest.run(f"/payload/vptest echo {PEER} {port} 500000").out)[0]
    assert (said["moved"], said["errno"], said["offloaded"]) == (500000, 0, 0)
    assert "already" in said["reason"] and said["device_error"] == errno.EBUSY
    assert lines(client.wait(timeout=30, check=True).out)[-1]["sha256"] == rig.pattern_hash(500000)


def test_both_ways(rig):
    """
    Of one connection, by two handles: to the second one the driver says EBUSY; a transfer then
    waits for the first, and is not offloaded.
    """
    file = rig.fill("both", 64 * MIB)
    client, port = rig.client("stall", after=3 * MIB, talk=100000)
    job = rig.guest.spawn(f"/payload/vptest twice {PEER} {port} {file} /mnt/came 100000", stdin=None)
    client.wait_output('"at"', timeout=60)
    job.write(b"now\n")
    job.wait_output('"second"', timeout=20)
    client.write(b"on\n")
    asked, said = lines(job.wait(timeout=60, check=True).out)
    assert asked == {"second": 1, "moved": 0, "reason": 9, "error": errno.EBUSY}    # declined, busy
    assert said["device_error"] == errno.EBUSY
    assert said["to"] == said["offloaded"] == 64 * MIB
    assert said["from"] == said["copied"] == 100000 and "already" in said["reason"]
    got = lines(client.wait(timeout=30, check=True).out)[-1]
    assert got["sha256"] == rig.pattern_hash(64 * MIB)
    assert check(rig, "/mnt/came", 0, 100000) == 100000
    rig.guest.run("rm /mnt/both /mnt/came")
