"""From and into other filesystems: offloaded, or declined and byte-exact."""

import re
import struct

import pytest

from pipes import CHECK, MIB, check, copy, take, wait_spare
from rig import PEER, SPARE, lines

pytestmark = pytest.mark.long

PARTITION = f"{SPARE}1"


@pytest.fixture
def spare(rig):
    """The rig with nothing at /fs and nothing that matters on the spare disk."""
    rig.guest.run("mkdir -p /fs; modprobe xfs")
    yield rig
    rig.guest.run("while umount /fs 2>/dev/null; do :; done")


@pytest.fixture
def disk(spare, request):
    """The spare disk, or a partition of it."""
    if request.param == SPARE:
        yield SPARE
        return
    entry = struct.pack("<B3sB3sII", 0, b"\0\0\0", 0x83, b"\0\0\0", 2048, 1000 * 2048)
    spare.guest.write_file("/tmp/mbr", bytes(446) + entry + bytes(48) + b"\x55\xaa")
    spare.guest.run(f"dd if=/tmp/mbr of={SPARE} conv=notrunc 2>/dev/null; blockdev --rereadpt {SPARE};"
                    f"until [ -b {PARTITION} ]; do usleep 20000; done", timeout=20)
    yield PARTITION
    spare.guest.run(f"umount /fs; dd if=/dev/zero of={SPARE} count=1 2>/dev/null;"
                    f"blockdev --rereadpt {SPARE}")


disks = pytest.mark.parametrize("disk", [SPARE, PARTITION], indirect=True,
                                ids=["disk", "partition"])


def make(rig, command, options="", disk=SPARE):
    rig.guest.run(f"{command} {disk} && mount {options} {disk} /fs", timeout=60)


def offloads(rig):
    """Data between holes, a tail that is not written, a dirty part; whole, and odd ends."""
    rig.guest.run("truncate -s 9M /fs/file")
    file = rig.fill("/fs/file", 5 * MIB, offset=MIB + 100, pieces="5000 70000")
    rig.guest.run(f"fallocate -l 12M {file} || truncate -s 12M {file}; sync;"
                  f"dd if=/dev/urandom of={file} bs=1000 count=700 seek=2077 conv=notrunc 2>/dev/null")
    rig.send(file, f"pipe:0:all pipe:1048000:1000001 pipe:4095:2 pipe:{12 * MIB - 1}:1")


@pytest.mark.parametrize("kind,command", [
    ("ext4", "mkfs.ext4 -q -F -b 1024"),
    ("ext4", "mkfs.ext4 -q -F -O ^has_journal"),
    ("ext4", "mkfs.ext4 -q -F -t ext2"),
    ("xfs", "mkfs.xfs -q -f"),
    ("xfs", "mkfs.xfs -q -f -b size=1024"),
    ("xfs", "mkfs.xfs -q -f -m reflink=0")])
def test_offloaded(spare, kind, command):
    make(spare, command)
    offloads(spare)
    spare.guest.run(f"umount /fs && {CHECK[kind]}", timeout=120)


@pytest.mark.parametrize("command", ["mkfs.ext4 -q -F", "mkfs.xfs -q -f"])
@pytest.mark.parametrize("disk", [PARTITION], indirect=True)
def test_partition(spare, disk, command):
    """Sectors are counted on the disk, and not on its partition."""
    make(spare, command, disk=disk)
    offloads(spare)


def whole(rig, offset, length):
    """Bytes of the blocks that lie whole in that range of a file of /fs."""
    block = int(rig.guest.run("stat -f -c %s /fs").out)
    return (offset + length) // block * block - -(-offset // block) * block


@disks
@pytest.mark.parametrize("kind,command", [
    ("ext4", "mkfs.ext4 -q -F"),
    ("ext4", "mkfs.ext4 -q -F -b 1024"),
    ("ext4", "mkfs.ext4 -q -F -O ^has_journal"),
    ("xfs", "mkfs.xfs -q -f"),
    ("xfs", "mkfs.xfs -q -f -b size=1024"),
    ("xfs", "mkfs.xfs -q -f -m reflink=0")])
def test_sink(spare, disk, kind, command):
    """A new file and the middle of an old one, from a socket and from files, and back."""
    make(spare, command, disk=disk)
    size, at, length = 6 * MIB + 5, 3072, 5 * MIB + 3
    there = spare.fill("there", size)
    for old in "/fs/taken", "/fs/copied":
        spare.fill(old, size)
    for done, offset, count in (
            (take(spare, "/fs/new", 0, size), 0, size),
            (take(spare, "/fs/taken", at, length, at=at), at, length),
            (copy(spare, there, "/fs/copied", length, at, at), at, length),
            (copy(spare, "/fs/new", "/fs/within", size), 0, size)):
        assert (done["moved"], done["errno"]) == (count, 0)
        assert done["offloaded"] == whole(spare, offset, count)
    spare.guest.run("rm -f /mnt/back")
    assert copy(spare, "/fs/within", "/mnt/back", size)["offloaded"] == size // 4096 * 4096
    assert check(spare, "/mnt/back", 0, size) == size
    for again in f"umount /fs && mount {disk} /fs", "umount /fs":
        for file in "new", "taken", "copied", "within":
            assert check(spare, f"/fs/{file}", 0, size) == size
        spare.guest.run(again, timeout=60)
    spare.guest.run(CHECK[kind].replace(SPARE, disk), timeout=120)
    spare.guest.run("rm /mnt/there /mnt/back")


def declined(rig, file, reason):
    sent = rig.send(file, "send:10 pipe:0:all pipe:77:1000", offloaded=False)[0]
    assert sent["offloaded"] == 0 and sent["copied"] > 0
    assert reason in sent["reason"], sent


def declined_everywhere(rig, reason):
    """Each way out of a filesystem, and into it."""
    size = 3 * MIB + 5
    declined(rig, rig.fill("/fs/file", size), reason)
    rig.guest.run("rm -f /mnt/out")
    for done, file in (
            (take(rig, "/fs/taken", 4096, size), "/fs/taken"),
            (copy(rig, rig.fill("in", size), "/fs/copied", size, to=4096), "/fs/copied"),
            (copy(rig, "/fs/file", "/mnt/out", size, to=4096), "/mnt/out")):
        assert done["moved"] == done["copied"] == size and done["offloaded"] == 0
        assert reason in done["reason"], done
        check(rig, file, 0, 4096, at=None)
        assert check(rig, file, 4096, size, at=0) == 4096 + size
    rig.guest.run("rm /mnt/in /mnt/out")


NOT_THE_DISK = "not on a Xen virtual disk"
NOT_MAPPED = "cannot be mapped"
FILE_TYPE = "type of file"
EXT4 = f"mkfs.ext4 -q -F {SPARE} && mount {SPARE} /fs"


@pytest.mark.parametrize("setup,reason", [
    (f"mkfs.ext4 -q -F {SPARE} && mount -o data=journal {SPARE} /fs", NOT_MAPPED),
    ("mount -t tmpfs none /fs", NOT_THE_DISK),
    (f"{EXT4} && truncate -s 400M /fs/image &&"
     "mkfs.ext4 -q -F /fs/image && mount -o loop /fs/image /fs", NOT_THE_DISK),
    (f"{EXT4} && cd /fs && mkdir low up work &&"
     "mount -t overlay -o lowerdir=low,upperdir=up,workdir=work none /fs", NOT_THE_DISK),
    (f"mkfs.ext4 -q -F -O encrypt {SPARE} && mount {SPARE} /fs && mkdir /fs/secret && "
     "key=$(head -c 64 /dev/urandom | xfs_io -c add_enckey /fs | sed 's/.* //') &&"
     "xfs_io -c \"set_encpolicy $key\" /fs/secret && mount --bind /fs/secret /fs", FILE_TYPE),
    (f"modprobe btrfs && mkfs.btrfs -q -f {SPARE} && mount {SPARE} /fs", NOT_THE_DISK),
    (f"modprobe btrfs && mkfs.btrfs -q -f {SPARE} && mount -o compress=zstd {SPARE} /fs",
     NOT_THE_DISK)],
    ids=["data=journal", "tmpfs", "loop", "overlay", "encrypted", "btrfs", "btrfs compressed"])
def test_declined(spare, setup, reason):
    spare.guest.run(setup, timeout=60)
    declined_everywhere(spare, reason)


PMEM = "/dev/pmem0"


@pytest.fixture
def dax(rig):
    """The rig with another guest, that takes a quarter of its memory for persistent."""
    first, filled = rig.guest, rig.filled
    rig.guest = rig.lab.create_guest("guest2", data="/dev/ram1", kernel="memmap=128M!256M")
    domain = rig.dom0.run("xl domid guest2").out.strip()
    rig.dom0.run("xl block-attach guest2 /dev/ram3,raw,xvdd,w")
    wait_spare(rig)
    rig.load(rig.guest)
    rig.guest.run(f"insmod /payload/vpipe-pmem.ko start={256 * MIB} size={128 * MIB} &&"
                  f"modprobe -a xfs nd_e820 nd_pmem && mkdir /fs; until [ -b {PMEM} ]; do"
                  " usleep 20000; done", timeout=20)
    rig.make_disk(rig.guest)
    rig.attach(domain)
    yield rig
    rig.guest.run("umount /fs; umount /mnt")
    rig.detach(domain)
    rig.lab.destroy_guest("guest2")
    rig.dom0.run(f"until ! xl domname {domain}; do usleep 50000; done 2>/dev/null", timeout=20)
    rig.guest, rig.filled = first, filled


def is_dax(rig, file):
    out = rig.guest.run(f"xfs_io -r -c 'statx -r' {file}").out
    return bool(int(re.search(r"stat.attributes = (\w+)", out)[1], 0) & 0x200000)


@pytest.mark.parametrize("setup,reason", [
    (f"mkfs.ext4 -q -F -b 4096 {PMEM} && mount -o dax=always {PMEM} /fs", NOT_THE_DISK),
    # What is on the virtual disk is its metadata.
    (f"mkfs.xfs -q -f -m reflink=0,rmapbt=0 -d rtinherit=1 -r rtdev={PMEM} {SPARE} &&"
     f"mount -o dax=always,rtdev={PMEM} {SPARE} /fs", FILE_TYPE)], ids=["ext4", "xfs"])
def test_dax(dax, setup, reason):
    dax.guest.run(setup, timeout=60)
    declined_everywhere(dax, reason)
    for file in "file", "taken", "copied":
        assert is_dax(dax, f"/fs/{file}")
    assert not is_dax(dax, "/mnt")
    size = 3 * MIB + 5
    assert copy(dax, dax.fill("in", size), "/mnt/out", size)["offloaded"] == size // 4096 * 4096


def test_realtime(dax):
    """Without DAX: the data is not on the disk that the filesystem is mounted from."""
    dax.guest.run(f"mkfs.xfs -q -f -m reflink=0,rmapbt=0 -d rtinherit=1 -r rtdev={PMEM} {SPARE} &&"
                  f"mount -o dax=never,rtdev={PMEM} {SPARE} /fs", timeout=60)
    declined_everywhere(dax, NOT_THE_DISK)
    assert not is_dax(dax, "/fs/file")


def test_device_mapper(spare):
    spare.guest.run(f"echo 0 $(cat /sys/block/xvdd/size) linear {SPARE} 0 | dmsetup create --noudevsync"
                   " vpipe; dmsetup mknodes")
    make(spare, "mkfs.ext4 -q -F", disk="/dev/mapper/vpipe")
    declined_everywhere(spare, NOT_THE_DISK)
    spare.guest.run("umount /fs; dmsetup remove --noudevsync vpipe")


def test_verity(spare):
    make(spare, "mkfs.ext4 -q -F -O verity")
    file = spare.fill("/fs/file", 3 * MIB + 5)
    spare.guest.run(f"/payload/vptest verity {file}")
    declined(spare, file, FILE_TYPE)
    copied = copy(spare, file, "/fs/copied", 3 * MIB + 5)
    assert copied["copied"] == 3 * MIB + 5 and FILE_TYPE in copied["reason"]
    assert check(spare, "/fs/copied", 0, 3 * MIB + 5) == 3 * MIB + 5


def refused(rig, file, errno, how=""):
    """Nothing is written to that file, as write(2) would not; the stream is still there."""
    before = rig.guest.run(f"sha256sum {file}").out
    took, copied = take(rig, file, 0, MIB, how=how), copy(rig, rig.fill("in", MIB), file, MIB, how=how)
    assert took["rest"] == MIB
    for done in took, copied:
        assert (done["moved"], done["errno"], done["offloaded"]) == (-1, errno, 0), done
    assert rig.guest.run(f"sha256sum {file}").out == before


def test_swap_file(spare):
    make(spare, "mkfs.ext4 -q -F")
    file = spare.fill("/fs/file", 4 * MIB)
    spare.guest.run(f"chmod 600 {file}; mkswap {file} >/dev/null && swapon {file}")
    declined(spare, file, FILE_TYPE)
    refused(spare, file, 26)    # ETXTBSY
    spare.guest.run(f"swapoff {file}")


def test_immutable(spare):
    """What was opened before: ext4 refuses to write there, XFS does not."""
    make(spare, "mkfs.ext4 -q -F")
    file = spare.fill("/fs/file", 4 * MIB)
    refused(spare, file, 1, how=f"'then:chattr +i {file}'; chattr -i {file}")
    spare.guest.run("umount /fs")
    make(spare, "mkfs.xfs -q -f")
    spare.fill("/fs/file", 4 * MIB)
    took = take(spare, file, MIB, MIB, how=f"'then:chattr +i {file}'")
    assert took["moved"] == took["copied"] == MIB and NOT_MAPPED in took["reason"]
    check(spare, file, MIB, MIB, at=0)
    spare.guest.run(f"chattr -i {file}")


@pytest.mark.parametrize("command", ["mkfs.ext4 -q -F", "mkfs.xfs -q -f"])
def test_append_only(spare, command):
    """Open for appending it is no sink; opened before, it is written as others are."""
    make(spare, command)
    file = spare.fill("/fs/file", 4 * MIB)
    refused(spare, file, 22, how="append")
    took = take(spare, file, 4 * MIB, 2 * MIB, how=f"'then:chattr +a {file}'")
    assert took["moved"] == took["offloaded"] == 2 * MIB
    check(spare, file, 0, 4 * MIB)
    assert check(spare, file, 4 * MIB, 2 * MIB, at=0) == 6 * MIB
    refused(spare, file, 22, how="append")
    spare.guest.run(f"chattr -a {file}")


def test_xfs_shared_blocks(spare):
    """Whoever writes a file that shares blocks gets others; the old ones may go to anybody."""
    make(spare, "mkfs.xfs -q -f")
    file = spare.fill("/fs/file", 4 * MIB)
    spare.send(file, "pipe:0:all")
    spare.guest.run(f"xfs_io -f -c 'reflink {file}' /fs/copy")
    declined(spare, file, NOT_MAPPED)
    declined(spare, "/fs/copy", NOT_MAPPED)


@pytest.mark.parametrize("change", [
    "xfs_io -f -c 'reflink {file}' /fs/copy; echo more >>{file}; rm /fs/copy",
    "xfs_io -c 'swapext /fs/donor' {file}; rm /fs/donor",
    "dd if=/fs/donor of={file} bs=1M conv=notrunc 2>/dev/null",
    "truncate -s 25M {file}; xfs_io -c 'fpunch 24m 1m' {file}"],
    ids=["reflink", "swapext", "write", "truncate"])
def test_xfs_changed_meanwhile(spare, change):
    """The content stays the same, but not its place; what was its place is overwritten."""
    size = 24 * MIB
    make(spare, "mkfs.xfs -q -f -d size=300m")
    spare.guest.run("fallocate -l 160M /fs/room")
    file = spare.fill("/fs/file", size)
    spare.fill("/fs/donor", size)
    client, port = spare.client("stall", after=3 * MIB)
    job = spare.guest.spawn(f"/payload/vptest run --trust 1 {PEER} {port} {file} pipe:0:{size}")
    client.wait_output('"at"', timeout=60)
    spare.guest.run(change.format(file=file), timeout=20)
    spare.guest.run("sync; dd if=/dev/urandom of=/fs/random bs=1M 2>/dev/null; sync", timeout=100)
    client.write(b"on\n")
    sent = lines(job.wait(timeout=60, check=True).out)[0]
    got = lines(client.wait(timeout=60, check=True).out)[-1]
    assert sent["errors"] == 0 and 0 < sent["offloaded"] < size and sent["copied"] > 0
    assert got["bytes"] == size and got["sha256"] == spare.pattern_hash(size)
    spare.guest.run(f"umount /fs && {CHECK['xfs']}", timeout=120)
