"""File to socket from other filesystems: offloaded, or declined and byte-exact."""

import pathlib
import struct
import subprocess

import pytest

from rig import PEER, lines

MIB = 1 << 20
BIN = pathlib.Path(__file__).resolve().parents[2] / "build/bin"
DISK = "/dev/xvdc"
CHECK = {"ext4": f"e2fsck -fn {DISK}", "xfs": f"xfs_repair -n {DISK}"}


@pytest.fixture
def bare(rig):
    """The rig with nothing at /mnt and nothing that matters on the disk."""
    rig.guest.run("umount /mnt; modprobe xfs")
    yield rig
    rig.guest.run("while umount /mnt 2>/dev/null; do :; done;"
                  f"mkfs.ext4 -q -F {DISK} && mount {DISK} /mnt")


def make(rig, command, options="", disk=DISK):
    rig.guest.run(f"{command} {disk} && mount {options} {disk} /mnt", timeout=60)


def offloads(rig):
    """Data between holes, a tail that is not written, a dirty part; whole, and odd ends."""
    rig.guest.run("truncate -s 9M /mnt/file")
    file = rig.fill("file", 5 * MIB, offset=MIB + 100, pieces="5000 70000")
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
def test_offloaded(bare, kind, command):
    make(bare, command)
    offloads(bare)
    bare.guest.run(f"umount /mnt && {CHECK[kind]}", timeout=120)


@pytest.mark.parametrize("command", ["mkfs.ext4 -q -F", "mkfs.xfs -q -f"])
def test_partition(bare, command):
    """Sectors are counted on the disk, and not on its partition."""
    entry = struct.pack("<B3sB3sII", 0, b"\0\0\0", 0x83, b"\0\0\0", 2048, 1000 * 2048)
    bare.guest.write_file("/tmp/mbr", bytes(446) + entry + bytes(48) + b"\x55\xaa")
    bare.guest.run(f"dd if=/tmp/mbr of={DISK} conv=notrunc 2>/dev/null; blockdev --rereadpt {DISK};"
                   f"until [ -b {DISK}1 ]; do usleep 20000; done", timeout=20)
    make(bare, command, disk=f"{DISK}1")
    offloads(bare)
    bare.guest.run(f"umount /mnt; dd if=/dev/zero of={DISK} count=1 2>/dev/null;"
                   f"blockdev --rereadpt {DISK}")


def declined(rig, file, reason):
    sent = rig.send(file, "send:10 pipe:0:all pipe:77:1000", offloaded=False)[0]
    assert sent["offloaded"] == 0 and sent["copied"] > 0
    assert reason in sent["reason"], sent


NOT_THE_DISK = "not on a Xen virtual disk"
NOT_MAPPED = "cannot be mapped"
FILE_TYPE = "type of file"


@pytest.mark.parametrize("setup,reason", [
    (f"mkfs.ext4 -q -F {DISK} && mount -o data=journal {DISK} /mnt", NOT_MAPPED),
    ("mount -t tmpfs none /mnt", NOT_THE_DISK),
    (f"mkfs.ext4 -q -F {DISK} && mount {DISK} /mnt && truncate -s 400M /mnt/image &&"
     "mkfs.ext4 -q -F /mnt/image && mount -o loop /mnt/image /mnt", NOT_THE_DISK),
    (f"mkfs.ext4 -q -F {DISK} && mount {DISK} /mnt && cd /mnt && mkdir low up work &&"
     "mount -t overlay -o lowerdir=low,upperdir=up,workdir=work none /mnt", NOT_THE_DISK)],
    ids=["data=journal", "tmpfs", "loop", "overlay"])
def test_declined(bare, setup, reason):
    bare.guest.run(setup, timeout=60)
    declined(bare, bare.fill("file", 3 * MIB + 5), reason)


def test_device_mapper(bare):
    bare.guest.run(f"echo 0 $(cat /sys/block/xvdc/size) linear {DISK} 0 | dmsetup create --noudevsync"
                   " vpipe; dmsetup mknodes")
    make(bare, "mkfs.ext4 -q -F", disk="/dev/mapper/vpipe")
    declined(bare, bare.fill("file", 3 * MIB + 5), NOT_THE_DISK)
    bare.guest.run("umount /mnt; dmsetup remove --noudevsync vpipe")


def test_swap_file(bare):
    make(bare, "mkfs.ext4 -q -F")
    file = bare.fill("file", 4 * MIB)
    bare.guest.run(f"chmod 600 {file}; mkswap {file} >/dev/null && swapon {file}")
    declined(bare, file, FILE_TYPE)
    bare.guest.run(f"swapoff {file}")


def test_xfs_shared_blocks(bare):
    """Whoever writes a file that shares blocks gets others; the old ones may go to anybody."""
    make(bare, "mkfs.xfs -q -f")
    file = bare.fill("file", 4 * MIB)
    bare.send(file, "pipe:0:all")
    bare.guest.run(f"xfs_io -f -c 'reflink {file}' /mnt/copy")
    declined(bare, file, NOT_MAPPED)
    declined(bare, "/mnt/copy", NOT_MAPPED)


@pytest.mark.parametrize("change", [
    "xfs_io -f -c 'reflink {file}' /mnt/copy; echo more >>{file}; rm /mnt/copy",
    "xfs_io -c 'swapext /mnt/donor' {file}; rm /mnt/donor",
    "dd if=/mnt/donor of={file} bs=1M conv=notrunc 2>/dev/null",
    "truncate -s 25M {file}; xfs_io -c 'fpunch 24m 1m' {file}"],
    ids=["reflink", "swapext", "write", "truncate"])
def test_xfs_changed_meanwhile(bare, change):
    """The content stays the same, but not its place; what was its place is overwritten."""
    size = 24 * MIB
    make(bare, "mkfs.xfs -q -f -d size=300m")
    file = bare.fill("file", size)
    bare.fill("donor", size)
    client, port = bare.client("stall", after=3 * MIB)
    job = bare.guest.spawn(f"/payload/vptest run --trust 1 {PEER} {port} {file} pipe:0:{size}")
    client.wait_output('"at"', timeout=60)
    bare.guest.run(change.format(file=file), timeout=20)
    bare.guest.run("sync; dd if=/dev/urandom of=/mnt/random bs=1M 2>/dev/null; sync", timeout=100)
    client.write(b"on\n")
    sent = lines(job.wait(timeout=60, check=True).out)[0]
    got = lines(client.wait(timeout=60, check=True).out)[-1]
    assert sent["errors"] == 0 and 0 < sent["offloaded"] < size and sent["copied"] > 0
    want = subprocess.run([BIN / "vptest", "hash", str(size)], check=True, text=True,
                          stdout=subprocess.PIPE).stdout
    assert got["bytes"] == size and got["sha256"] == lines(want)[0]["sha256"]
    bare.guest.run(f"umount /mnt && {CHECK['xfs']}", timeout=120)
