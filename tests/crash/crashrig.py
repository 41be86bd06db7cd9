"""
The rig of crash tests: the guest works on a disk that is then looked at in dom0, as
after a crash: mounted, compared with what may be there, unmounted and checked.
"""

from pipes import MIB
from rig import Rig, lines
from workload import FOLDER, PREPARED

FILESYSTEMS = ["ext4", "xfs"]
MKFS = {"ext4": "mkfs.ext4 -q -F -E nodiscard,lazy_itable_init=0,lazy_journal_init=0",
        "xfs": "mkfs.xfs -q -f -K"}
FSCK = {"ext4": "e2fsck -fn", "xfs": "xfs_repair -n"}
SIZE = 320 * MIB
SPARE = "xvdd"


class CrashRig(Rig):
    """Attached, and no more: it is made anew for each crash."""

    def __init__(self, lab):
        self.lab = lab
        self.dom0, self.guest, self.peer = lab.dom0, lab.guest, lab.peer
        self.port = 5000
        self.prepare_dom0()
        self.load(self.guest)
        self.attach()

    def insert(self, device, kind):
        """The guest gets dom0's device, and mounts it."""
        self.dom0.run(f"xl block-attach guest {device},raw,{SPARE},w", timeout=30)
        self.guest.run(f"modprobe {kind}; until [ -b /dev/{SPARE} ]; do usleep 10000; done;"
                       f"mkdir -p {FOLDER} && mount -t {kind} /dev/{SPARE} {FOLDER}")
        # Else nothing would say which writes must have been made before which.
        cache = self.guest.run(f"cat /sys/block/{SPARE}/queue/write_cache").out
        assert cache == "write back\n"

    def remove(self):
        self.guest.run(f"umount {FOLDER}")
        self.dom0.run(f"xl block-detach guest {SPARE}", timeout=30)

    def wait_gone(self):
        """After the guest: until nothing of dom0 works for it any more."""
        self.dom0.run("until ! ls /sys/bus/xen-backend/devices | grep -q ^v;"
                      " do usleep 20000; done", timeout=30)


def format_disk(dom0, device, kind):
    """A filesystem with the prepared files, on a disk that was full of the marker."""
    commands = [f"modprobe {kind}; mkdir -p /crash", f"{MKFS[kind]} {device}",
                f"mount -t {kind} {device} /crash",
                *(file.command("/crash") for file in PREPARED), "umount /crash"]
    dom0.run(" && ".join(commands), timeout=60)


def check_disk(dom0, device, kind, spec, before="", after=""):
    """
    What a crash has left: (what vpcrash has found wrong, its summary). A filesystem that
    cannot be mounted or is not clean is an error at once.
    """
    out = dom0.run(f"set -e; mkdir -p /crash; {before} mount -t {kind} {device} /crash;"
                   "/payload/vpcrash check /crash; umount /crash;"
                   f"{FSCK[kind]} {device} >/tmp/fsck 2>&1 || {{ cat /tmp/fsck; exit 1; }};"
                   f"{after}", timeout=60, stdin=spec.encode()).out
    # A replay before has told something too.
    *wrong, summary = [line for line in lines(out) if line.keys() & {"file", "files"}]
    return wrong, summary
