"""
While bytes are moved into a file, or out of one, others do things to it. The stream and
the file are of the pattern, and so is what others write there: where a byte is, it is
right, whoever was faster; where it was cut off or punched out, it may be zero.
"""

import statistics

import pytest

from pipes import FILESYSTEMS, LINEAR, MIB, SLOW, SPARE, both, check, drop_caches, make, \
    mapped, remap, source, wait_taken
from rig import PEER, lines

pytestmark = pytest.mark.long

SIZE = 40 * MIB
kinds = pytest.mark.parametrize("kind", ["receive", "copy"])


@pytest.fixture
def fs(rig, request):
    """A filesystem at /fs, on a disk that can be made slow."""
    with mapped(rig, LINEAR):
        yield from make(rig, *getattr(request, "param", FILESYSTEMS[0]))


def moving(rig, kind, path="/fs/file", size=SIZE, slow=True):
    """
    An operation into that file, of `size` bytes of the pattern, that takes its time as the
    disk is slow meanwhile; call it for its result.
    """
    if kind == "receive":
        job, port = source(rig, size)
        command = f"take {PEER} {port} {path} 0 {size}"
    else:
        rig.fill("source", size)
        job, command = None, f"copy /mnt/source {path} 0 {size} 0"
    rig.guest.run(f": >>{path}")
    if slow:
        remap(rig, SLOW)
    moves = rig.guest.spawn(f"/payload/vptest {command}")
    wait_taken(rig, path, 1)

    def result():
        done = lines(moves.wait(timeout=120, check=True).out)[0]
        if job:
            job.wait(timeout=30)
        if slow:
            remap(rig, LINEAR)
        assert done["moved"] == size and done["errno"] == 0
        return done
    return moves, result


def meanwhile(rig, kind, action, path="/fs/file"):
    """Do the action again and again until the operation has ended; its result."""
    _, result = moving(rig, kind, path)
    # The loop ends when there is no such program any more.
    rounds = int(rig.guest.run(f"i=0; while pidof vptest >/dev/null; do {action}; i=$((i + 1));"
                               " done >/dev/null 2>&1; echo $i", timeout=120).out)
    assert rounds >= 1
    return result()


def right_or_zero(rig, path="/fs/file", size=SIZE):
    """Each byte of the file is either the pattern's or zero."""
    drop_caches(rig)
    wrong = rig.guest.run(f"/payload/vptest sift {path} {size}", timeout=120).out
    assert lines(wrong)[0]["wrong"] == 0, wrong


@both
@kinds
@pytest.mark.parametrize("action", [
    "mv /fs/file /fs/other; mv /fs/other /fs/file",
    "cat /fs/file",
    "dd if=/fs/file of=/dev/null bs=1M iflag=direct",
    "fallocate -n -o 60M -l 1M /fs/file; fallocate -n -l 10M /fs/file",
    f"! umount /fs || mount {SPARE} /fs",
    "fsfreeze -f /fs; usleep 100000; fsfreeze -u /fs",
    "ls -l /fs; sync -f /fs/file; sync; echo 3 >/proc/sys/vm/drop_caches"],
    ids=["rename", "reader", "direct reader", "fallocate", "umount", "freeze", "sync"])
def test_harmless(fs, kind, action):
    """Nothing of it changes what the file has in the end."""
    meanwhile(fs, kind, action)
    assert check(fs, "/fs/file", 0, SIZE) == SIZE


@both
@kinds
@pytest.mark.parametrize("action", [
    "truncate -s 1M /fs/file", "truncate -s 9999999 /fs/file; truncate -s 30M /fs/file",
    "fallocate -p -o 4096 -l 12M /fs/file", "xfs_io -c 'fzero 1m 6m' /fs/file"],
    ids=["truncate", "truncate up and down", "punch", "zero"])
def test_cut(fs, kind, action):
    meanwhile(fs, kind, action)
    right_or_zero(fs)


@both
@kinds
def test_another_writer(fs, kind):
    """Buffered, of the same bytes, to the same place."""
    meanwhile(fs, kind, f"cp /payload/vptest /tmp/writer; /tmp/writer fill /fs/file 0 {12 * MIB}")
    assert check(fs, "/fs/file", 0, SIZE) == SIZE


@both
@kinds
def test_mapped_writer(fs, kind):
    fs.fill("/fs/file", 8 * MIB)
    scribble = fs.guest.spawn(f"/payload/vptest scribble /fs/file 0 {8 * MIB}", stdin=None)
    _, result = moving(fs, kind)
    result()
    scribble.write(b"stop\n")
    assert lines(scribble.wait(timeout=30, check=True).out)[0]["rounds"] > 0
    assert check(fs, "/fs/file", 0, SIZE) == SIZE


@both
@kinds
def test_unlink(fs, kind):
    """It goes on into the file that has no name any more; its blocks are free afterwards."""
    before = fs.guest.run("sync; stat -f -c %f /fs").out
    _, result = moving(fs, kind)
    fs.guest.run("rm /fs/file")
    result()
    drop_caches(fs)
    fs.guest.run(f"until sync; [ $(stat -f -c %f /fs) -ge {int(before) - 16} ]; do"
                 " usleep 100000; done", timeout=30)


@kinds
def test_defragmented(fs, kind):
    """ext4 moves the blocks of a file that is being written."""
    fs.guest.run("/payload/vptest interleave /fs/file /fs/between 400", timeout=120)
    meanwhile(fs, kind, "e4defrag /fs/file")
    assert check(fs, "/fs/file", 0, SIZE) == SIZE


@kinds
@pytest.mark.parametrize("fs", FILESYSTEMS[1:], indirect=True, ids=["xfs"])
def test_reflinked(fs, kind):
    """XFS: copies that share the blocks of that moment keep what they had."""
    meanwhile(fs, kind, "xfs_io -f -c 'reflink /fs/file' /fs/copy$((i % 4))")
    assert check(fs, "/fs/file", 0, SIZE) == SIZE
    for i in range(4):
        if fs.guest.run(f"[ -e /fs/copy{i} ]", check=False).rc == 0:
            right_or_zero(fs, f"/fs/copy{i}", size=1 << 40)


@both
def test_crossing(fs):
    """A into B and B into A at once, in parts that do not overlap, and both sources of more."""
    a, b = fs.fill("/fs/a", 16 * MIB), fs.fill("/fs/b", 16 * MIB)
    jobs = [fs.guest.spawn(f"/payload/vptest copy {x} {y} 0 {12 * MIB} {16 * MIB}")
            for x, y in ((a, b), (b, a), (a, "/fs/c"), (b, "/fs/d"))]
    for job in jobs:
        assert lines(job.wait(timeout=120, check=True).out)[0]["moved"] == 12 * MIB
    for file in a, b:
        check(fs, file, 0, 16 * MIB)
        assert check(fs, file, 16 * MIB, 12 * MIB, at=0) == 28 * MIB


def test_others_are_not_held_up(rig):
    """
    Reads and synchronous writes of other files take about as long as without vPipe, when
    as much is moved in the same time: for so long that the ordinary way writes back as well.
    """
    rig.peer.run("tc qdisc add dev eth0 root tbf rate 120mbit burst 256k latency 100ms")
    seen = {"offloaded": [], "ordinary": []}
    for fs in make(rig, *FILESYSTEMS[0]):
        for how in ["offloaded", "ordinary"] * 3:
            if how == "ordinary":
                fs.detach()
            moves, result = moving(fs, "receive", size=120 * MIB, slow=False)
            seen[how] += lines(fs.guest.run("/payload/vptest latency /fs/small 200; rm /fs/small",
                                            timeout=120).out)
            assert not moves.done(), "measured without it for some of the time"
            assert (result()["copied"] == 0) == (how == "offloaded")
            if how == "ordinary":
                fs.attach()
    for what in "write", "read":
        offloaded, ordinary = [statistics.median(run[what] for run in runs)
                               for runs in seen.values()]
        assert offloaded <= 2 * ordinary, seen
    rig.peer.run("tc qdisc del dev eth0 root")
