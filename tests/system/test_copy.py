"""File to file: within a disk, between two, and what must be left alone."""

import pytest

from pipes import FILESYSTEMS, LINEAR, MIB, SLOW, both, check, copy, drop_caches, make, \
    mapped, remap, wait_taken
from rig import lines

pytestmark = pytest.mark.long


@both
def test_lengths(fs):
    """On one disk: new files, whole."""
    for size in 1, 4095, 4096, 4097, 5 * MIB + 3, 30 * MIB:
        fs.guest.run("rm -f /fs/in /fs/out")
        copied = copy(fs, fs.fill("/fs/in", size), "/fs/out", 1 << 40)
        assert copied["moved"] == size and copied["offloaded"] == size // 4096 * 4096
        assert check(fs, "/fs/out", 0, size) == size


@both
def test_two_disks(fs):
    """From the one at /mnt to the one at /fs, and back."""
    size = 24 * MIB + 12345
    copied = copy(fs, fs.fill("there", size), "/fs/there", size)
    assert copied["moved"] == size and copied["offloaded"] >= size - 4096
    assert check(fs, "/fs/there", 0, size) == size
    fs.guest.run("rm -f /mnt/back")
    assert copy(fs, "/fs/there", "/mnt/back", size)["offloaded"] >= size - 4096
    assert check(fs, "/mnt/back", 0, size) == size
    fs.guest.run("rm /mnt/there /mnt/back")


@both
def test_offsets(fs):
    size = 3 * MIB
    source = fs.fill("/fs/in", size)
    for at, length, to in ((4096, MIB, 8192), (4097, MIB, 1), (5000, MIB + 7, 5000),
                           (MIB + 1, 200000, size - 4095), (0, size, size + 12288)):
        fs.guest.run("rm -f /fs/out")
        fs.fill("/fs/out", size)
        copied = copy(fs, source, "/fs/out", length, at, to)
        assert copied["moved"] == length and copied["errno"] == 0
        if (at - to) % 4096 == 0:
            assert copied["offloaded"] >= length - 8192
        check(fs, "/fs/out", 0, min(to, size), at=0)
        if to > size:
            check(fs, "/fs/out", size, to - size, at=None)
        check(fs, "/fs/out", to, length, at=at)
        if to + length < size:
            check(fs, "/fs/out", to + length, size - to - length, at=to + length)


@both
def test_shifted_by_part_of_a_block(fs):
    """No block of the source is one of the sink: left to copy_file_range."""
    copied = copy(fs, fs.fill("/fs/in", MIB), "/fs/out", MIB, at=100, to=8192)
    assert copied["moved"] == copied["copied"] == MIB - 100
    check(fs, "/fs/out", 8192, MIB - 100, at=100)


@both
def test_sparse(fs):
    """Holes and unwritten ranges of the source read as zeros."""
    fs.guest.run("truncate -s 9M /fs/in")
    fs.fill("/fs/in", 3 * MIB, offset=MIB + 4096)
    fs.guest.run("fallocate -o 5M -l 1M /fs/in; sync")
    copied = copy(fs, "/fs/in", "/fs/out", 9 * MIB)
    assert copied["moved"] == copied["offloaded"] == 9 * MIB
    check(fs, "/fs/out", 0, MIB + 4096, at=None)
    check(fs, "/fs/out", MIB + 4096, 3 * MIB - MIB - 4096, at=MIB + 4096)
    assert check(fs, "/fs/out", 4 * MIB + 4096, 4 * MIB - 4096, at=None) == 9 * MIB


@both
def test_within_a_file(fs):
    file = fs.fill("/fs/one", 8 * MIB)
    assert copy(fs, file, file, MIB, at=0, to=4 * MIB)["offloaded"] == MIB
    check(fs, file, 0, 4 * MIB, at=0)
    check(fs, file, 4 * MIB, MIB, at=0)
    assert check(fs, file, 5 * MIB, 3 * MIB, at=5 * MIB) == 8 * MIB
    assert copy(fs, file, file, 4 * MIB, at=4 * MIB, to=8 * MIB)["offloaded"] == 4 * MIB
    assert check(fs, file, 8 * MIB, MIB, at=0) == 12 * MIB
    overlapping = copy(fs, file, file, 2 * MIB, at=0, to=MIB)
    assert overlapping["moved"] == -1 and overlapping["errno"] == 22


@both
def test_dirty_source(fs):
    fs.fill("/fs/in", 6 * MIB, sync=False)
    assert copy(fs, "/fs/in", "/fs/out", 6 * MIB)["offloaded"] == 6 * MIB
    assert check(fs, "/fs/out", 0, 6 * MIB) == 6 * MIB


@both
def test_fragmented(fs):
    """Source and sink of a few hundred extents."""
    fs.fill("/fs/in", 4 * MIB, pieces="4096 8192")
    fs.guest.run("/payload/vptest interleave /fs/out /fs/other 500; sync", timeout=120)
    copied = copy(fs, "/fs/in", "/fs/out", 2 * MIB)
    assert copied["moved"] == copied["offloaded"] == 2 * MIB
    drop_caches(fs)
    fs.guest.run("head -c 2097152 /fs/in >/tmp/a; head -c 2097152 /fs/out | cmp - /tmp/a")
    check(fs, "/fs/other", 0, 2000000, at=0)


def test_full_disk(fs):
    fs.fill("/fs/in", 40 * MIB)
    fs.guest.run("fallocate -l $(($(stat -f -c %f /fs) * 4 - 51000))K /fs/big; sync")
    copied = copy(fs, "/fs/in", "/fs/out", 40 * MIB)
    assert copied["errno"] == 28 and 16 * MIB < copied["moved"] < 37 * MIB
    assert copied["offloaded"] > 0
    assert check(fs, "/fs/out", 0, copied["moved"]) == copied["moved"]


@pytest.fixture
def slow(rig):
    """ext4 at /fs, on a disk that can be made slow."""
    with mapped(rig, LINEAR):
        yield from make(rig, *FILESYSTEMS[0])


def start_slowly(rig, size):
    """A copy of that much that is under way when this returns, and takes a second."""
    rig.fill("/fs/in", size)
    remap(rig, SLOW)
    copying = rig.guest.spawn(f"/payload/vptest copy /fs/in /fs/out 0 {size} 0")
    wait_taken(rig, "/fs/out", 8 * MIB)
    return copying


def test_refused(slow):
    """From some time on dom0 takes no TRANSFER: it goes unnoticed by nobody, and by no byte."""
    size = 80 * MIB
    setting = "/sys/module/vpipe_back/parameters/flow_mib"
    usual = slow.dom0.run(f"cat {setting}").out.strip()
    copying = start_slowly(slow, size)
    try:
        slow.dom0.run(f"echo 0 >{setting}")
        copied = lines(copying.wait(timeout=30, check=True).out)[0]
    finally:
        slow.dom0.run(f"echo {usual} >{setting}")
        remap(slow, LINEAR)
    assert copied["moved"] == size and 0 < copied["offloaded"] < size and copied["copied"] > 0
    assert check(slow, "/fs/out", 0, size) == size


def test_killed(slow):
    copying = start_slowly(slow, 80 * MIB)
    slow.guest.run("killall -9 vptest")
    copying.wait(timeout=20)
    remap(slow, LINEAR)
    size = int(slow.guest.run("stat -c %s /fs/out").out)
    assert 8 * MIB <= size < 80 * MIB
    assert check(slow, "/fs/out", 0, size) == size


def test_source_cut_meanwhile(slow):
    """Truncated in the middle: no byte of what took its place."""
    copying = start_slowly(slow, 80 * MIB)
    slow.guest.run("truncate -s 30M /fs/in")
    remap(slow, LINEAR)
    slow.guest.run("dd if=/dev/urandom of=/fs/new bs=1M count=40 2>/dev/null", timeout=60)
    copied = lines(copying.wait(timeout=60, check=True).out)[0]
    assert 8 * MIB <= copied["moved"] < 80 * MIB
    assert check(slow, "/fs/out", 0, copied["moved"]) == copied["moved"]


def test_many(fs):
    fs.fill("/fs/in", 4 * MIB)
    jobs = [fs.guest.spawn(f"/payload/vptest copy /fs/in /fs/o{i} 0 {4 * MIB} 0")
            for i in range(16)]
    for job in jobs:
        assert lines(job.wait(timeout=120, check=True).out)[0]["moved"] == 4 * MIB
    for i in range(16):
        assert check(fs, f"/fs/o{i}", 0, 4 * MIB) == 4 * MIB


def test_many_large(fs):
    """Together more than a domain may have on its way: each has its part, nothing is declined."""
    size = 40 * MIB
    there = fs.fill("in", size)
    jobs = [fs.guest.spawn(f"/payload/vptest copy {there} /fs/o{i} 0 {size} 0") for i in range(12)]
    copied = [lines(job.wait(timeout=200, check=True).out)[0] for job in jobs]
    assert [one["offloaded"] for one in copied] == [size] * 12, copied
    for i in range(12):
        check(fs, f"/fs/o{i}", 0, size)
    fs.guest.run(f"rm {there}")


@both
def test_two_into_one(fs):
    """Into ranges that overlap."""
    size, part = 24 * MIB, 8 * MIB
    there = fs.fill("in", size)
    fs.fill("/fs/out", 2 * size)
    jobs = [fs.guest.spawn(f"/payload/vptest copy {file} /fs/out {at} {length} {to}")
            for file, at, length, to in ((there, 0, 2 * part, 0), (there, part, 2 * part, part),
                                         (there, 0, 3 * part, 0), (there, part, part, part))]
    for job, length in zip(jobs, (2 * part, 2 * part, 3 * part, part)):
        copied = lines(job.wait(timeout=120, check=True).out)[0]
        assert copied["moved"] == length and copied["errno"] == 0 and copied["offloaded"] > 0
    assert check(fs, "/fs/out", 0, 2 * size) == 2 * size
    fs.guest.run(f"rm {there}")
