"""A disk has a bad block, in the middle of a file: exact counts, right prefixes, and EIO."""

import contextlib
import errno
import re

import pytest

from pipes import FILESYSTEMS, LINEAR, MIB, SECTORS, check, copy, drop_caches, make, mapped, \
    remap, take
from rig import PEER, lines

pytestmark = pytest.mark.long

SIZE, BAD = 40 * MIB, 20 * MIB + 8192    # not in the first 15 MiB, which are one write


@pytest.fixture(params=FILESYSTEMS, ids=lambda p: p[0])
def fs(rig, request):
    """A filesystem at /fs, on a disk of which blocks can go bad."""
    with mapped(rig, LINEAR):
        yield from make(rig, *request.param)


@contextlib.contextmanager
def bad(rig, file):
    """The 4 KiB at BAD in that file can be neither read nor written."""
    out = rig.guest.run(f"sync; filefrag -v -b512 {file}").out
    sector, = [int(disk) + BAD // 512 - int(first) for first, last, disk in
               re.findall(r": +(\d+)\.\. *(\d+): +(\d+)\.\.", out)
               if int(first) <= BAD // 512 <= int(last)]
    drop_caches(rig)
    remap(rig, f"0 {sector} linear /dev/ram2 0\n{sector} 8 error\n"
              f"{sector + 8} {SECTORS - sector - 8} linear /dev/ram2 {sector + 8}\n")
    yield
    remap(rig, LINEAR)


def test_file_to_socket(fs):
    """The second call finds what has ended the first one."""
    file = fs.fill("/fs/file", SIZE)
    sink, port = fs.sink()
    with bad(fs, file):
        sent = lines(fs.guest.run(f"/payload/vptest run --trust 1 {PEER} {port} {file}"
                                  f" pipe:0:all pipe:{BAD}:all", timeout=60).out)[0]
    got = lines(sink.wait(timeout=30, check=True).out)[-1]
    assert (sent["errors"], sent["errno"]) == (1, errno.EIO)
    assert 0 < sent["offloaded"] <= sent["offloaded"] + sent["copied"] == got["bytes"] <= BAD
    assert got["sha256"] == fs.pattern_hash(got["bytes"])
    fs.send(file, "pipe:0:all")


def test_copy_from(fs):
    file = fs.fill("/fs/file", SIZE)
    with bad(fs, file):
        copied = copy(fs, file, "/mnt/out", SIZE)
    assert copied["errno"] == errno.EIO and 0 < copied["offloaded"] <= copied["moved"] <= BAD
    assert check(fs, "/mnt/out", 0, copied["moved"]) == copied["moved"]
    fs.guest.run("rm /mnt/out")
    assert copy(fs, file, "/mnt/out", SIZE)["offloaded"] == SIZE
    assert check(fs, "/mnt/out", 0, SIZE) == SIZE
    fs.guest.run("rm /mnt/out")


def into(rig, kind, file, how=""):
    """SIZE bytes of the pattern into that file."""
    if kind == "receive":
        return take(rig, file, 0, SIZE, how=how)
    return copy(rig, rig.fill("in", SIZE), file, SIZE, how=how)


kinds = pytest.mark.parametrize("kind", ["receive", "copy"])


@kinds
@pytest.mark.parametrize("how", ["", "sync"], ids=["plain", "sync"])
def test_into(fs, kind, how):
    """Like write(2): the error is that of O_SYNC, or of fsync(2); nothing of a stream is lost."""
    file = fs.fill("/fs/file", SIZE)
    with bad(fs, file):
        done = into(fs, kind, file, how)
        synced = fs.guest.run(f"xfs_io -c fsync {file}", check=False)
    assert done["offloaded"] > 0 and done["lost"] == 0
    if how:
        assert done["errno"] == errno.EIO and done["moved"] <= BAD
        assert done["rest"] == (SIZE - done["moved"]) * (kind == "receive")
        check(fs, file, 0, done["moved"])
    else:
        assert (done["moved"], done["errno"]) == (SIZE, 0)
        assert "Input/output error" in synced.err
    assert into(fs, kind, file)["offloaded"] == SIZE
    assert check(fs, file, 0, SIZE) == SIZE


def fill_pieces(rig, number, kibibytes):
    """A file whose blocks, from 16 MiB on, are in about so many pieces apart on the disk."""
    script = "".join(f"file 0\nfalloc {16384 + i * kibibytes}k {kibibytes}k\n"
                     f"file 1\nfalloc {i * 4}k 4k\n" for i in range(number))
    rig.guest.run("xfs_io -f /fs/file", stdin=f"open -f /fs/between\n{script}".encode(), timeout=60)
    file = rig.fill("/fs/file", SIZE)
    pieces = int(rig.guest.run(f"filefrag {file}").out.split(":")[1].split()[0])
    assert pieces >= number // 2, f"only {pieces} of {number} pieces"
    return file


@kinds
def test_into_pieces(fs, kind):
    """A write that reaches the disk in a few pieces fails as a whole: nothing is lost."""
    file = fill_pieces(fs, 40, 100)
    with bad(fs, file):
        done = into(fs, kind, file)
        synced = fs.guest.run(f"xfs_io -c fsync {file}", check=False)
    assert done["offloaded"] > 0 and done["lost"] == 0
    assert (done["moved"], done["errno"]) == (SIZE, 0) and "Input/output error" in synced.err
    assert into(fs, kind, file)["offloaded"] == SIZE
    assert check(fs, file, 0, SIZE) == SIZE


@kinds
def test_half_a_write(fs, kind):
    """Of so many pieces that some are on the disk: that data is lost, and the error says so."""
    fill_pieces(fs, 1000, 4)
    with bad(fs, "/fs/file"):
        done = into(fs, kind, "/fs/file")
    assert done["errno"] == errno.EIO and 0 < done["moved"] == done["offloaded"] <= BAD
    if kind == "receive":
        assert 0 < done["lost"] <= 15 * MIB
        assert done["moved"] + done["lost"] + done["rest"] == SIZE
    check(fs, "/fs/file", 0, done["moved"])
    assert into(fs, kind, "/fs/file")["offloaded"] == SIZE
    assert check(fs, "/fs/file", 0, SIZE) == SIZE
