"""The guest is saved and restored, with vPipe attached and at work."""

import pytest

from pipes import FILESYSTEMS, MIB, check, make, source, take, wait_taken
from rig import PEER, lines

pytestmark = pytest.mark.long


def save_and_restore(rig):
    rig.dom0.run("xl save guest /tmp/saved && xl restore /tmp/saved && rm /tmp/saved", timeout=180)
    rig.dom0.run(f"until labrun {rig.guest.via} true; do usleep 100000; done", timeout=60)
    # What the toolstack has left behind of the domain that it was.
    rig.dom0.run("for d in $(xenstore-list /local/domain/0/backend/vpipe); do"
                 " [ $d = $(xl domid guest) ] || /payload/vpipectl detach $d; done", check=False)


def test_idle(rig):
    for fs in make(rig, *FILESYSTEMS[0]):
        save_and_restore(rig)
        # Not attached any more, and that is all.
        assert take(fs, "/fs/before", 0, 5 * MIB)["copied"] == 5 * MIB
        rig.attach()
        rig.wait_connected()
        assert take(fs, "/fs/after", 0, 5 * MIB)["offloaded"] == 5 * MIB
    rig.lab.rig_broken = True


def test_at_work(rig):
    """A connection that was away is lost, and the program told; a copy goes on."""
    for fs in make(rig, *FILESYSTEMS[0]):
        fs.fill("in", 100 * MIB)
        _, port = source(fs, 16 * MIB, pause=5 * MIB)
        taking = fs.guest.spawn(f"/payload/vptest take {PEER} {port} /fs/taken 0 {16 * MIB}")
        wait_taken(fs, "/fs/taken", 3 * MIB)
        copying = fs.guest.spawn("i=0; while [ $i -lt 6 ]; do /payload/vptest copy /mnt/in /fs/out 0"
                                 f" {100 * MIB} 0 || exit 1; i=$((i + 1)); done")
        wait_taken(fs, "/fs/out", 10 * MIB)
        save_and_restore(rig)
        took = lines(taking.wait(timeout=60, check=True).out)[0]
        assert took["errno"] == 104 and 3 * MIB <= took["moved"] <= 5 * MIB
        copies = lines(copying.wait(timeout=300, check=True).out)
        assert len(copies) == 6 and all(one["moved"] == 100 * MIB for one in copies)
        assert copies[0]["offloaded"] > 0 and copies[-1]["offloaded"] == 0
        assert check(fs, "/fs/taken", 0, took["moved"]) == took["moved"]
        assert check(fs, "/fs/out", 0, 100 * MIB) == 100 * MIB
        rig.attach()
        rig.wait_connected()
        assert take(fs, "/fs/after", 0, 5 * MIB)["offloaded"] == 5 * MIB
    rig.lab.rig_broken = True
