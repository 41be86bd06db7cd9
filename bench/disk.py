"""
The machine's own disk, QEMU's virtio, beside the RAM disks: in parts, which have below ROOT
what SOURCE and the two sinks have (stage.py).

    vdb1    at /emulated/mnt of guest (xvde) and dom0, read-only
    vdb2    at /emulated/fs of the guest (xvdf)
    vdb3    at /emulated/fs of dom0

What is on it is in a file of the host's, and in no snapshot: it is made after each restore.
"""

import struct

from lab import DISK_MIB

ROOT, DEVICE = "/emulated", "/dev/vdb"
PARTS, PART_MIB, FILE_MIB = 3, 96, 64
# Small ones would else have blocks of 1 KiB.
MKFS = "mkfs.ext4 -q -F -b 4096 -E lazy_itable_init=0,lazy_journal_init=0"
MIB, SECTOR, LINUX = 1 << 20, 512, 0x83


def partition_table(number, mebibytes):
    """The first sector of a disk that has so many parts of that size, from 1 MiB on."""
    length = mebibytes * MIB // SECTOR
    parts = [struct.pack("<4xB3xII", LINUX, MIB // SECTOR + n * length, length)
             for n in range(number)]
    return bytes(446) + b"".join(parts).ljust(64, b"\0") + b"\x55\xaa"


def prepare(stage):
    """Of a lab that was just restored: nobody uses the disk."""
    disk = stage.disk
    disk.seek(0)
    disk.write(partition_table(PARTS, PART_MIB).ljust(MIB, b"\0"))
    for _ in range(1, DISK_MIB):
        disk.write(bytes(MIB))      # the host's pages are there from the beginning
    disk.flush()
    make = "".join(f"{MKFS},nodiscard {DEVICE}{n} || exit 1;" for n in range(1, PARTS + 1))
    stage.dom0.run(
        f"blockdev --rereadpt {DEVICE}; until [ -b {DEVICE}{PARTS} ]; do usleep 20000; done;"
        f"{make} mkdir -p {ROOT}/mnt {ROOT}/fs && mount {DEVICE}1 {ROOT}/mnt &&"
        f"dd if=/dev/zero of={ROOT}/mnt/file bs=1M count={FILE_MIB} 2>/dev/null &&"
        f"umount {ROOT}/mnt && mount -o ro,noload {DEVICE}1 {ROOT}/mnt &&"
        f"mount {DEVICE}3 {ROOT}/fs && xl block-attach guest {DEVICE}1,raw,xvde,r &&"
        f"xl block-attach guest {DEVICE}2,raw,xvdf,w", timeout=300)
    stage.guest.run("until [ -b /dev/xvde ] && [ -b /dev/xvdf ]; do usleep 20000; done;"
                    f"mkdir -p {ROOT}/mnt {ROOT}/fs && mount -o ro,noload /dev/xvde {ROOT}/mnt &&"
                    f"mount /dev/xvdf {ROOT}/fs", timeout=120)
