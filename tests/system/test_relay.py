"""Socket to socket: a stream from one connection into another."""

import pytest

from pipes import MIB, source
from rig import PEER, lines

pytestmark = pytest.mark.long


def relay(rig, length, sent=None):
    """From a source to a sink, both on the peer: what the guest and the sink say."""
    job, port = source(rig, length if sent is None else sent)
    sink, to = rig.sink()
    said = lines(rig.guest.run(f"/payload/vptest relay {PEER} {port} {PEER} {to} {length}",
                               timeout=300).out)[0]
    assert lines(job.wait(timeout=30, check=True).out)[-1]["errno"] == 0
    return said, lines(sink.wait(timeout=30, check=True).out)[-1]


def start(rig, what, after=0, length=64 * MIB, end="fin", pause=""):
    """A relay to an unusual client that is under way when this returns."""
    job, port = source(rig, length, end, pause)
    client, to = rig.client(what, after)
    relaying = rig.guest.spawn(f"/payload/vptest relay {PEER} {port} {PEER} {to} {1 << 40}")
    client.wait_output('"at"', timeout=60)
    return job, client, relaying


@pytest.mark.parametrize("length", [0, 1, 4097, MIB + 3, 40 * MIB])
def test_lengths(rig, length):
    said, got = relay(rig, length)
    assert said["moved"] == said["offloaded"] == got["bytes"] == length
    assert got["sha256"] == rig.pattern_hash(length)


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
    job, client, relaying = start(rig, "stall", after=MIB, length=48 * MIB)
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
    job, client, relaying = start(rig, "read", after=100000, length=MIB, pause=100000)
    job.write(b"on\n")
    assert lines(relaying.wait(timeout=60, check=True).out)[0]["moved"] == MIB
    assert lines(client.wait(timeout=30, check=True).out)[-1]["sha256"] == rig.pattern_hash(MIB)


def test_sink_resets(rig):
    """What the sink did not take is still in the source."""
    job, client, relaying = start(rig, "reset", after=2 * MIB, length=16 * MIB)
    said = lines(relaying.wait(timeout=60, check=True).out)[0]
    assert 2 * MIB <= said["moved"] and said["errno"] in (0, 32, 104)
    assert said["moved"] + said["rest"] == 16 * MIB
    client.wait(timeout=30)


def test_source_resets(rig):
    job, client, relaying = start(rig, "read", after=MIB, length=8 * MIB, end="reset",
                                  pause=2 * MIB)
    job.write(b"on\n")
    said = lines(relaying.wait(timeout=60, check=True).out)[0]
    got = lines(client.wait(timeout=30, check=True).out)[-1]
    assert said["moved"] + said["rest"] <= 8 * MIB and got["bytes"] == said["moved"] >= 2 * MIB
    assert got["sha256"] == rig.pattern_hash(got["bytes"]) and 104 in (said["errno"], said["end"])


def test_killed(rig):
    """With the sink stalled, and reading."""
    for what in "stall", "read":
        job, client, relaying = start(rig, what, after=3 * MIB, length=256 * MIB)
        rig.guest.run("killall -9 vptest")
        relaying.wait(timeout=20)
        rig.settle()
        if what == "stall":
            client.write(b"on\n")
        assert lines(client.wait(timeout=30, check=True).out)[-1]["bytes"] < 256 * MIB
        job.kill()
        job.wait(timeout=20)


def test_detach_in_the_middle(rig):
    job, client, relaying = start(rig, "stall", after=3 * MIB, length=32 * MIB)
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
