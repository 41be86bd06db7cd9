"""
Kills at random moments: the guest (xl destroy) and the whole machine (QEMU's process).
The disk is a file of the host's, which both outlive.

CRASH_KILLS says how many, CRASH_SEED with what else.
"""

import os
import shutil
import tempfile

import pytest

from crashrig import FILESYSTEMS, CrashRig, check_disk, format_disk
from pipes import MIB
from workload import Workload, expected

SEED = int(os.environ.get("CRASH_SEED", 1))
KILLS = int(os.environ.get("CRASH_KILLS", 52))
DEVICE = "/dev/vdb"


def put(image, disk):
    """In place: QEMU has the disk open."""
    with open(image, "rb") as source, open(disk, "r+b") as sink:
        shutil.copyfileobj(source, sink, MIB)


@pytest.fixture(scope="module")
def images(lab):
    """Each filesystem with the prepared files and the marker in all that is free."""
    with tempfile.TemporaryDirectory(prefix="vpipe-crash-") as folder:
        images = {}
        for kind in FILESYSTEMS:
            images[kind] = f"{folder}/{kind}"
            with open(lab.disk.name, "r+b") as disk:
                size = disk.seek(0, os.SEEK_END)
                disk.seek(0)
                for _ in range(size // MIB):
                    disk.write(b"\xaa" * MIB)
            format_disk(lab.dom0, DEVICE, kind)
            shutil.copyfile(lab.disk.name, images[kind])
        lab.fresh = False
        yield images


CASES = [(number, FILESYSTEMS[number % 2], ("guest", "machine")[number // 2 % 2])
         for number in range(KILLS)]


@pytest.mark.parametrize("number, kind, who", CASES, ids=["-".join(map(str, c)) for c in CASES])
def test_kill(lab, images, number, kind, who):
    put(images[kind], lab.disk.name)
    if not lab.fresh:
        lab.restore()
    lab.fresh = False
    rig = CrashRig(lab)
    rig.insert(DEVICE, kind)
    work = Workload(f"{SEED}-{number}")
    moment = work.run_until(rig, lab.destroy_guest if who == "guest" else lab.kill)
    print(f"{len(work.done)} of {len(work.begun)} had ended, {moment:.3f} s into the last round")
    if who == "guest":
        rig.wait_gone()
        bad = lab.check_logs()
        assert not bad, "bad lines in the logs:\n" + "\n".join(bad)
    else:
        lab.restore()
        lab.fresh = True
    wrong, _ = check_disk(lab.dom0, DEVICE, kind, expected(work.begun, work.done),
                          before=f"modprobe {kind};")
    assert not wrong, wrong
