"""
What one domain can have at once: thousands of operations, and no more than it may; and what
is left in dom0 of those that came and went.
"""

import contextlib
import time

import pytest

from lab import SMALL
from net import Counts, Talk, path
from pipes import MIB
from rig import PEER, lines
from test_fairness import limit_is
from test_handover import all_offloaded, as_source, file_for
from test_vpipectl import SYSFS, daemon, domid, wait_left

pytestmark = pytest.mark.long

DEBUG = "/sys/kernel/debug/vpipe-back"
PARAMETERS = "/sys/module/vpipe_back/parameters"
LENGTH = 400000     # more than the sockets of both ends take while nobody reads
GUESTS = [f"guest{n}" for n in range(2, 9)]     # that come and go at the same time


def stat(rig, name, dom="guest"):
    return int(rig.dom0.run(f"cat {SYSFS}/vpipe-{domid(rig, dom)}-0/statistics/{name}").out)


def free(rig):
    """KiB that dom0 could give to something."""
    return int(rig.dom0.run("awk '/^MemAvailable/ {print $2}' /proc/meminfo").out)


class Crowd:
    """So many operations of the guest to clients that read nothing before finish()."""

    def __init__(self, rig, number, length=LENGTH):
        self.rig, self.number, self.length = rig, number, length
        port = rig.next_port()
        self.client = rig.peer.spawn(f"exec /payload/vptest hold {port} {number}", stdin=None)
        self.client.wait_output('"listening"', timeout=20)
        file = rig.read_only(LENGTH)
        self.job = rig.guest.spawn(f"exec /payload/vptest crowd {PEER} {port} {file} {number}"
                                   f" {length}")
        self.client.wait_output('"held"', timeout=120)
        self.job.wait_output('"submitted"', timeout=120)

    def open(self, least, timeout=120):
        """Wait until dom0 has so many of them that have not ended."""
        file = f"{DEBUG}/{domid(self.rig)}-0/operations"
        self.rig.dom0.run(f"until [ $(wc -l <{file}) -gt {least} ]; do usleep 200000; done",
                          timeout=timeout)

    def finish(self):
        """What the guest's program says; all bytes have arrived."""
        self.client.write(b"on\n")
        said = lines(self.job.wait(timeout=300, check=True).out)[-1]
        got = lines(self.client.wait(timeout=60, check=True).out)[-1]
        assert got == {"bytes": self.number * self.length, "errors": 0}, (got, said)
        assert said["offloaded"] + said["ordinary"] == got["bytes"] and said["failed"] == 0, said
        return said


def no_oom(rig):
    for host in rig.dom0, rig.guest:
        said = host.run("dmesg | grep -i -e 'out of memory' -e oom-kill -e 'allocation failure'",
                        check=False).out
        assert not said, (host.name, said)


def test_thousands(rig):
    """2,100 slow operations of one domain, with the defaults: all are accepted."""
    chunks, threads = 128 * MIB >> 16, rig.baseline["threads"]
    before = free(rig)
    crowd = Crowd(rig, 2100)
    crowd.open(2000)
    seen = [(stat(rig, "chunks"), before - free(rig)) for _ in range(10) if not time.sleep(0.5)]
    counts = rig.counts()
    # A little more than the pool: what a flow passes on by reference, and each its socket.
    assert max(used for used, _ in seen) <= chunks, seen
    assert max(taken for _, taken in seen) << 10 < 128 * MIB + 2100 * 64 * 1024, seen
    assert counts["flows"] == 2100 and counts["threads"] == threads, counts
    said = crowd.finish()
    assert (said["done"], said["offloaded"]) == (2100, 2100 * LENGTH), said
    rig.no_flows()
    no_oom(rig)


@pytest.mark.parametrize("limit", ["max-ops", "flow_mib", "max-chunks"])
def test_over_the_limit(rig, limit):
    """The rest goes the ordinary way; of pages there is only a wait."""
    node = f"backend/vpipe/{domid(rig)}/0/{limit}"
    number, allowed = 600, 200
    if limit == "flow_mib":     # a connection asks for its receive buffer: 128 KiB
        rig.dom0.run(f"echo {allowed // 8} >{PARAMETERS}/{limit}")
    else:
        value = allowed if limit == "max-ops" else 16
        limit_is(rig.dom0, domid(rig), limit, value)
    crowd = Crowd(rig, number)
    if limit == "max-chunks":
        crowd.open(number - 10)
        assert stat(rig, "chunks") <= 16
    else:
        crowd.open(allowed // 2)
        # Those that were refused have been taken over for nothing, and go home.
        flows = f"{SYSFS}/vpipe-{domid(rig)}-0/statistics/flows"
        rig.dom0.run(f"until [ $(cat {flows}) -le {allowed + 8} ]; do usleep 50000; done",
                     timeout=30)
    said = crowd.finish()
    rig.dom0.run(f"echo 512 >{PARAMETERS}/flow_mib; xenstore-rm {node}", check=False)
    if limit == "max-chunks":
        assert (said["done"], said["ordinary"]) == (number, 0), said
    else:
        assert said["busy"] >= number - allowed - 8 and said["ordinary"] > 0, said
        assert said["done"] >= allowed // 2, said
    rig.no_flows()
    no_oom(rig)


def test_held_bound(rig):
    """More frames than may be held are lost: sent again by the peer, and all is there."""
    limit_is(rig.dom0, domid(rig), "max-held", 1)
    counts = Counts(rig)
    try:
        with path(rig, 1):
            all_offloaded(Talk(rig, file_for(rig), **as_source()).result(timeout=200))
    finally:
        rig.dom0.run(f"xenstore-rm backend/vpipe/{domid(rig)}/0/max-held")
    assert counts.end().grown["dom0"]["frames_dropped_total"] > 0


# Domains that come and go


def left(rig):
    """What is there of all domains: as the rig counts it, xenstore's nodes, free KiB."""
    nodes = int(rig.dom0.run("xenstore-ls / | wc -l").out)
    return rig.quiet_counts(), nodes, rig.free_memory()[0]


@contextlib.contextmanager
def loaded(rig):
    """The first guest transfers all the while; not so fast that others take long to boot."""
    file = rig.read_only(64 * MIB)
    limit_is(rig.dom0, domid(rig), "cap", 20 * MIB)
    sink, port = rig.sink()
    job = rig.guest.spawn(f"exec /payload/vptest run --trust 1 --repeat 100000 {PEER} {port} {file}"
                          " pipe:0:all", stdin=None)
    yield job
    assert not job.done()
    rig.guest.run("killall -9 vptest")
    job.wait(timeout=20)
    sink.kill()
    rig.no_flows()
    rig.dom0.run(f"xenstore-rm backend/vpipe/{domid(rig)}/0/cap")


def come_and_go(rig):
    """
    Some domains that are destroyed while each of them transfers.  Of that their client hears
    nothing, as of any machine that is gone: so it is another one each time.
    """
    port = rig.next_port()
    sink = rig.peer.spawn(f"exec /payload/vpipe-sink --discard --workers {3 * len(GUESTS)} {port}")
    sink.wait_output('"listening"', timeout=20)
    guests = [rig.lab.create_guest(name, wait=False, data="/dev/ram1", **SMALL)
              for name in GUESTS]
    for guest in guests:
        rig.lab._wait_guest(guest.name, guest.via)
        # Without a connection of dom0's that would outlive the guest.
        guest.run(
            "mkdir -p /mnt && mount -o ro,noload /dev/xvdc /mnt && insmod /mnt/vpipe-front.ko;"
            "(while :; do /mnt/vptest run --trust 1 --connections 3 --repeat 100000"
            f" {PEER} {port} /mnt/file pipe:0:all; done) >/dev/null 2>&1 </dev/null &")
    # What they move before they are attached goes the ordinary way.
    doms = rig.dom0.run(f"for name in {' '.join(GUESTS)}; do dom=$(xl domid $name);"
                        f" s={SYSFS}/vpipe-$dom-0/statistics; echo $dom;"
                        " until [ -e $s ] && [ $(cat $s/flows) -ge 3 ] &&"
                        " [ $(cat $s/bytes_total) -gt 60000000 ]; do usleep 50000; done; done",
                        timeout=60).out.split()
    rig.dom0.run(f"for dom in {' '.join(doms)}; do xl destroy $dom; done", timeout=60)
    for dom in doms:
        wait_left(rig, dom, False)
    sink.kill()
    sink.wait(timeout=20)


def test_come_and_go(rig):
    """
    A hundred domains that are connected and transfer when they are destroyed, while another
    one transfers: threads, pages, grants and nodes are as before.
    """
    rig.dom0.run("mkfs.ext4 -q -F -E lazy_itable_init=0,lazy_journal_init=0 /dev/ram1 100M &&"
                 " mkdir -p /mnt && mount /dev/ram1 /mnt &&"
                 " dd if=/dev/zero of=/mnt/file bs=1M count=20 2>/dev/null;"
                 " cp /payload/vptest /mnt")
    rig.dom0.write_file("/mnt/vpipe-front.ko", rig.guest.read_file("/payload/vpipe-front.ko"))
    rig.dom0.run("umount /mnt")
    with daemon(rig, "guest[2-8]\n"):
        with loaded(rig):
            come_and_go(rig)      # what dom0 keeps once is there now
        before = left(rig)
        with loaded(rig):
            for _ in range(1 + 100 // len(GUESTS)):
                come_and_go(rig)
        after = left(rig)
    assert after[:2] == before[:2]
    assert abs(after[2] - before[2]) < 8 * 1024, (before, after)
