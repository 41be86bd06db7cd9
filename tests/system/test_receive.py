"""Socket to file: what a peer sends becomes a file's, byte for byte."""

import pytest

from net import Talk
from pipes import FILESYSTEMS, MIB, SPARE, both, check, drop_caches, make, source, take, wait_taken
from rig import PEER, lines

pytestmark = pytest.mark.long


@both
def test_new_files(fs):
    for length in 0, 1, 4095, 4096, 4097, MIB + 3, 20 * MIB:
        fs.guest.run("rm -f /fs/new")
        took = take(fs, "/fs/new", 0, length)
        assert took["moved"] == length and took["offloaded"] == length // 4096 * 4096
        assert check(fs, "/fs/new", 0, length) == length


@both
def test_into_a_file(fs):
    """The other bytes of the file, also of the first and last block, stay what they were."""
    size = 3 * MIB + 77
    for offset, length in ((8192, 100000), (4097, 65536 + 13), (12345, 2 * MIB), (1, 1),
                           (size - 5000, 70000), (size, MIB), (size + 100000, MIB + 1),
                           (5000, 200)):
        fs.guest.run("rm -f /fs/old")
        fs.fill("/fs/old", size)
        took = take(fs, "/fs/old", offset, length)
        assert took["moved"] == length
        if length >= 16384:
            assert took["offloaded"] >= length - 8192
        end = max(size, offset + length)
        before = min(offset, size)
        assert check(fs, "/fs/old", 0, before, at=0) == end
        assert check(fs, "/fs/old", before, offset - before, at=None) == end
        assert check(fs, "/fs/old", offset, length, at=0) == end
        if offset + length < size:
            check(fs, "/fs/old", offset + length, size - offset - length, at=offset + length)


@both
def test_holes_and_unwritten(fs):
    """What is allocated for it shows nothing of what was on the disk before."""
    fs.fill("/fs/stale", 40 * MIB)
    fs.guest.run("rm /fs/stale; sync; truncate -s 10M /fs/hole; fallocate -l 10M /fs/unwritten")
    for name in "/fs/hole", "/fs/unwritten":
        assert take(fs, name, 2 * MIB + 4096, 3 * MIB + 5)["moved"] == 3 * MIB + 5
        check(fs, name, 0, 2 * MIB + 4096, at=None)
        check(fs, name, 2 * MIB + 4096, 3 * MIB + 5, at=0)
        assert check(fs, name, 5 * MIB + 4101, 5 * MIB - 4101, at=None) == 10 * MIB


@both
def test_cached_range(fs):
    """Dirty and clean pages of the range go, and readers see the new bytes at once."""
    file = fs.fill("/fs/cached", 4 * MIB, sync=False)
    fs.guest.run(f"cat {file} >/dev/null")
    assert take(fs, file, MIB, MIB)["offloaded"] == MIB
    for _ in range(2):      # from the cache, and from the disk
        check(fs, file, 0, MIB, at=0, cold=False)
        check(fs, file, MIB, MIB, at=0, cold=False)
        check(fs, file, 2 * MIB, 2 * MIB, at=2 * MIB, cold=False)
        drop_caches(fs)


@both
def test_end_of_stream(fs):
    """The file has exactly what came, and no block more."""
    for sent in 0, 100, 8192, MIB + 1, 9 * MIB + 4095:
        fs.guest.run("rm -f /fs/short")
        took = take(fs, "/fs/short", 0, 1 << 40, sent=sent)
        assert took["moved"] == sent and took["rest"] == took["end"] == took["errno"] == 0
        assert check(fs, "/fs/short", 0, sent) == sent
        blocks = int(fs.guest.run("stat -c %b /fs/short").out)
        assert blocks * 512 < sent + 70000


def test_rest_of_the_stream(fs):
    """What is behind the length stays in the socket."""
    took = take(fs, "/fs/part", 0, 5 * MIB + 1, sent=7 * MIB)
    assert took["moved"] == 5 * MIB + 1 and took["rest"] == 2 * MIB - 1
    assert check(fs, "/fs/part", 0, 5 * MIB + 1) == 5 * MIB + 1


def test_unread_first(fs):
    """What the guest had received before goes first."""
    took = take(fs, "/fs/unread", 0, 4 * MIB, how="unread:100000")
    assert took["moved"] == took["offloaded"] == 4 * MIB
    took = take(fs, "/fs/all", 0, 100000, sent=100000, how="unread:100000")
    assert took["moved"] == 100000 and took["rest"] == 0
    assert check(fs, "/fs/unread", 0, 4 * MIB) == 4 * MIB
    assert check(fs, "/fs/all", 0, 100000) == 100000


@both
@pytest.mark.parametrize("how", ["sync", "dsync"])
def test_synchronous(fs, how):
    assert take(fs, "/fs/sync", 0, 3 * MIB, how=how)["offloaded"] == 3 * MIB
    assert check(fs, "/fs/sync", 0, 3 * MIB) == 3 * MIB


def test_slow_stream(fs):
    """Pieces, with pauses between: what has come is in the file before the rest comes."""
    job, port = source(fs, 2 * MIB, pause=MIB + 100)
    taking = fs.guest.spawn(f"/payload/vptest take {PEER} {port} /fs/slow 0 {2 * MIB}")
    job.wait_output('"at"', timeout=20)
    wait_taken(fs, "/fs/slow", MIB)
    job.write(b"on\n")
    took = lines(taking.wait(timeout=60, check=True).out)[0]
    assert took["moved"] == took["offloaded"] == 2 * MIB
    assert check(fs, "/fs/slow", 0, 2 * MIB) == 2 * MIB


def test_reset(fs):
    """The peer resets: the file has a right prefix, of exactly that length."""
    job, port = source(fs, 8 * MIB, end="reset", pause=6 * MIB)
    taking = fs.guest.spawn(f"/payload/vptest take {PEER} {port} /fs/reset 0 {1 << 30}")
    job.wait_output('"at"', timeout=20)
    wait_taken(fs, "/fs/reset", 4 * MIB)
    job.write(b"on\n")
    took = lines(taking.wait(timeout=60, check=True).out)[0]
    assert took["errno"] == 104 and 4 * MIB <= took["moved"] <= 8 * MIB
    assert check(fs, "/fs/reset", 0, took["moved"]) == took["moved"]


def test_killed(fs):
    """The process dies in the middle: a right prefix, nothing left behind, both ends free."""
    for pause in 3 * MIB, 3 * MIB + 100:
        job, port = source(fs, 64 * MIB, pause=pause)
        taking = fs.guest.spawn(f"/payload/vptest take {PEER} {port} /fs/killed 0 {64 * MIB} trunc")
        wait_taken(fs, "/fs/killed", 2 * MIB)
        fs.guest.run("killall -9 vptest")
        taking.wait(timeout=20)
        fs.settle()
        size = int(fs.guest.run("stat -c %s /fs/killed").out)
        assert check(fs, "/fs/killed", 0, size) == size <= pause
        job.kill()
        job.wait(timeout=20)


def test_full_disk(fs):
    """As with write: what fits is there, the errno says why, the rest is still unread."""
    fs.guest.run("fallocate -l $(($(stat -f -c %f /fs) * 4 - 51000))K /fs/big; sync")
    took = take(fs, "/fs/full", 0, 40 * MIB)
    assert took["errno"] == 28 and 16 * MIB < took["moved"] < 37 * MIB
    assert took["moved"] + took["rest"] == 40 * MIB and took["offloaded"] > 0
    assert check(fs, "/fs/full", 0, took["moved"]) == took["moved"]


def test_size_limit(fs):
    took = take(fs, "/fs/limit", 0, 5 * MIB, before="trap '' XFSZ; ulimit -f 4096;")
    assert took["errno"] == 27 and took["moved"] == 2 * MIB     # in units of 512
    assert took["rest"] == 3 * MIB
    assert check(fs, "/fs/limit", 0, 2 * MIB) == 2 * MIB


def test_little_memory(rig):
    """What comes home finds room, however little the guest's sockets may have together."""
    setting = "/proc/sys/net/ipv4/tcp_mem"
    usual = rig.guest.run(f"cat {setting}").out.strip()
    talk = Talk(rig, rig.read_only(MIB), "recv:1 wait pull:12288000 recv:1 wait",
                peer="--send all", options="--scratch /mnt/scratch")
    talk.guest.wait_output('"wait":0', timeout=20)
    try:
        rig.guest.run(f"echo 40 50 60 >{setting}")
        talk.guest.write(b"go\n")
        talk.guest.wait_output('"wait":1', timeout=60)      # with what the window had let in
    finally:
        rig.guest.run(f"echo {usual} >{setting}")
    talk.guest.write(b"go\n")
    assert talk.result().sum["offloaded"] == 12288000


def test_detach_in_the_middle(fs):
    job, port = source(fs, 16 * MIB, pause=5 * MIB)
    taking = fs.guest.spawn(f"/payload/vptest take {PEER} {port} /fs/detach 0 {16 * MIB}")
    wait_taken(fs, "/fs/detach", 3 * MIB)
    detaching = fs.dom0.spawn("/payload/vpipectl detach guest")
    detaching.wait(timeout=60, check=True)
    job.write(b"on\n")
    took = lines(taking.wait(timeout=120, check=True).out)[0]
    assert took["moved"] == 16 * MIB and took["errno"] == 0 and took["copied"] > 0
    assert check(fs, "/fs/detach", 0, 16 * MIB) == 16 * MIB
    fs.attach()


@both
def test_many(fs):
    """16 at once, each into its own file, two of them into one."""
    sources = [source(fs, 2 * MIB + i) for i in range(16)]
    takes = [fs.guest.spawn(f"/payload/vptest take {PEER} {port} /fs/m{i // 2 * 2} "
                            f"{(i % 2) * 4 * MIB} {2 * MIB + i}")
             for i, (_, port) in enumerate(sources)]
    for i, job in enumerate(takes):
        assert lines(job.wait(timeout=120, check=True).out)[0]["moved"] == 2 * MIB + i
    for i in range(16):
        check(fs, f"/fs/m{i // 2 * 2}", (i % 2) * 4 * MIB, 2 * MIB + i, at=0)


def test_many_large(fs):
    """Together more than the buffers of a domain take: each has its part, nothing is declined."""
    size = 40 * MIB
    takes = [fs.guest.spawn(f"/payload/vptest take {PEER} {source(fs, size)[1]} /fs/m{i} 0 {size}")
             for i in range(12)]
    took = [lines(job.wait(timeout=200, check=True).out)[0] for job in takes]
    assert [one["offloaded"] for one in took] == [size] * 12, took
    for i in range(12):
        check(fs, f"/fs/m{i}", 0, size)


def test_gibibyte(fs):
    assert take(fs, "/fs/big", 0, 1 << 30)["offloaded"] == 1 << 30
    assert check(fs, "/fs/big", 0, 1 << 30) == 1 << 30


@pytest.mark.parametrize("setup", [
    f"mkfs.ext4 -q -F -t ext2 {SPARE} && mount {SPARE} /fs",
    f"mkfs.ext4 -q -F {SPARE} && mount -o data=journal {SPARE} /fs",
    f"mkfs.ext4 -q -F -O inline_data {SPARE} && mount {SPARE} /fs && echo small >/fs/file",
    "mount -t tmpfs none /fs"], ids=["no extents", "data=journal", "inline data", "tmpfs"])
def test_declined(rig, setup):
    """Where the filesystem would not write directly: the ordinary path, byte for byte."""
    rig.guest.run(f"mkdir -p /fs; {setup}", timeout=60)
    took = take(rig, "/fs/file", 0, 3 * MIB + 5)
    assert took["moved"] == took["copied"] == 3 * MIB + 5 and took["offloaded"] == 0
    assert check(rig, "/fs/file", 0, 3 * MIB + 5) == 3 * MIB + 5
    rig.guest.run("umount /fs")


def test_shared_blocks(rig):
    """XFS: a file that shares blocks gets others; its twin keeps its own."""
    for fs in make(rig, *FILESYSTEMS[1]):
        file = fs.fill("/fs/one", 4 * MIB)
        fs.guest.run(f"xfs_io -f -c 'reflink {file}' /fs/two")
        assert take(fs, file, MIB, MIB)["offloaded"] == MIB
        check(fs, file, MIB, MIB, at=0)
        assert check(fs, "/fs/two", 0, 4 * MIB, at=0) == 4 * MIB


def test_unread_refused(fs):
    """The driver domain has no room for what was unread: the ordinary path, nothing lost."""
    fs.detach()
    fs.dom0.run("rmmod vpipe_back && insmod /payload/vpipe-back.ko pool_mib=1")
    fs.attach()
    took = take(fs, "/fs/refused", 0, 8 * MIB, how=f"unread:{2 * MIB}")
    assert took["moved"] == took["copied"] == 8 * MIB and "limit" in took["reason"]
    assert check(fs, "/fs/refused", 0, 8 * MIB) == 8 * MIB
    fs.detach()
    fs.dom0.run("rmmod vpipe_back && insmod /payload/vpipe-back.ko")
    fs.attach()
