"""
Of the pipes that end in files or begin in sockets: whoever dies, and whenever, nothing is
left behind, and the next transfers work. What goes on has what it wants but for a disk, a
peer that sends no more, and one that takes no more.
"""

import pytest

from pipes import FILESYSTEMS, LINEAR, MIB, copy, check, make, mapped, relay, source, start_relay, \
    take, wait_answered, wait_taken
from rig import PEER, lines

pytestmark = pytest.mark.long

SIZE = 32 * MIB
STOP, GO_ON = "dmsetup suspend --nolockfs below", "dmsetup resume --noudevsync below"


@pytest.fixture
def fs(rig):
    """ext4 at /fs, on a disk that dom0 can stop."""
    with mapped(rig, LINEAR):
        yield from make(rig, *FILESYSTEMS[0])


class UnderWay:
    """A receive, a copy and a relay; the disk stands still."""

    def __init__(self, rig):
        self.rig = rig
        rig.fill("in", 4 * SIZE)
        self.source, port = source(rig, SIZE, pause=5 * MIB)
        self.take = rig.guest.spawn(f"/payload/vptest take {PEER} {port} /fs/taken 0 {SIZE}")
        self.relay_source, self.client, self.relay = start_relay(rig, "stall", after=3 * MIB,
                                                                 length=SIZE)
        wait_taken(rig, "/fs/taken", 3 * MIB)
        self.copy = rig.guest.spawn(f"/payload/vptest copy /mnt/in /fs/copied 0 {4 * SIZE} 0")
        wait_taken(rig, "/fs/copied", 1)
        rig.dom0.run(STOP)
        assert not any(job.done() for job in (self.take, self.copy, self.relay))

    def ends(self):
        """All go on to the end, with the right content; what each of them says."""
        self.rig.dom0.run(GO_ON)
        self.source.write(b"on\n")
        self.client.write(b"on\n")
        said = [lines(job.wait(timeout=60, check=True).out)[0]
                for job in (self.take, self.copy, self.relay)]
        assert [one["moved"] for one in said] == [SIZE, 4 * SIZE, SIZE]
        assert not any(one["errno"] for one in said)
        wait_answered(self.source)
        wait_answered(self.relay_source)
        got = lines(self.client.wait(timeout=30, check=True).out)[-1]
        assert got["sha256"] == self.rig.pattern_hash(SIZE)
        assert check(self.rig, "/fs/taken", 0, SIZE) == SIZE
        assert check(self.rig, "/fs/copied", 0, 4 * SIZE) == 4 * SIZE
        return said


def works(rig):
    """Nothing is left of what was, and each pipe is offloaded."""
    rig.settle()
    assert take(rig, "/fs/works", 0, MIB)["offloaded"] == MIB
    assert copy(rig, "/fs/works", "/fs/works", MIB, to=MIB)["offloaded"] == MIB
    assert relay(rig, MIB)[0]["offloaded"] == MIB
    assert check(rig, "/fs/works", MIB, MIB, at=0) == 2 * MIB


def test_unloading_is_refused(fs):
    under_way = UnderWay(fs)
    assert fs.guest.run("rmmod vpipe_front", check=False).rc != 0
    assert fs.dom0.run("rmmod vpipe_back", check=False).rc != 0
    assert not any(one["copied"] for one in under_way.ends())
    works(fs)


def test_detach(fs):
    """What is left goes the ordinary way, when the disk and the peers let it come home."""
    under_way = UnderWay(fs)
    detaching = fs.dom0.spawn("/payload/vpipectl detach guest")
    fs.dom0.run("until [ $(xenstore-read /local/domain/0/backend/vpipe/$(xl domid guest)/0/state)"
                " != 4 ]; do usleep 10000; done", timeout=20)
    said = under_way.ends()
    detaching.wait(timeout=60, check=True)
    assert all(one["offloaded"] and one["copied"] for one in said), said
    fs.attach()
    works(fs)


def test_killed(fs):
    """All die at once, and do not wait for the disk; the files have a right prefix."""
    under_way = UnderWay(fs)
    fs.guest.run("killall -9 vptest")
    for job in under_way.take, under_way.copy, under_way.relay:
        job.wait(timeout=20)
    fs.dom0.run(GO_ON)
    for peer in under_way.source, under_way.relay_source, under_way.client:
        peer.kill()
        peer.wait(timeout=20)
    fs.settle()
    for file, most in ("/fs/taken", 5 * MIB), ("/fs/copied", 4 * SIZE - 1):
        size = int(fs.guest.run(f"stat -c %s {file}").out)
        assert 0 < check(fs, file, 0, size) == size <= most
    works(fs)


def test_guest_destroyed(rig):
    """A new guest is served afterwards."""
    with mapped(rig, LINEAR):
        next(make(rig, *FILESYSTEMS[0]))
        under_way = UnderWay(rig)
        destroying = rig.dom0.spawn("xl destroy guest")
        rig.dom0.run("until ! xl list | tail -n +3 | grep -qv ' .....d '; do usleep 10000; done",
                     timeout=20)
        rig.dom0.run(GO_ON)
        destroying.wait(timeout=30)
        rig.bury()
        for peer in under_way.source, under_way.relay_source, under_way.client:
            peer.kill()
        rig.replace_guest()
        rig.guest.run("modprobe xfs")
    for fs in make(rig, *FILESYSTEMS[0]):
        works(fs)
