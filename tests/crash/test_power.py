"""
Power cuts. dm-log-writes records what the guest (by blkback) and vPipe write, with the
flushes between; the states that a disk with a volatile cache could have been in when its
power went are made from that, one after the other, and looked at: after every flush what
was written before it, and at random in between some of what was written since.

CRASH_SEED draws another workload and other states; CRASH_POINTS says how many at least.
"""

import os
import random
from dataclasses import dataclass

import pytest

from crashrig import FILESYSTEMS, SIZE, check_disk, format_disk
from rig import lines
from workload import Workload, expected

SEED = int(os.environ.get("CRASH_SEED", 1))
POINTS = int(os.environ.get("CRASH_POINTS", 110))
# dom0's RAM disks.  The first is on the guest too, which does nothing with it.
CHANGES, STATE, DISK, LOG = (f"/dev/ram{i}" for i in range(4))
SECTORS = SIZE // 512


@dataclass
class Point:
    """A state: entries before `flushed` are there, and some of those up to `end`."""
    flushed: int
    end: int
    told: int           # marks before this entry had been made
    volatile: str       # a seed, or none: nothing but what bypassed the cache


class Recording:
    """A workload's run on a recorded disk, and what it is replayed on."""

    def __init__(self, rig, kind, seed):
        self.dom0, self.kind = rig.dom0, kind
        self.work = Workload(seed)
        self.run("modprobe -a dm-log-writes dm-snapshot;"
                 f"dmsetup create disk --table '0 {SECTORS} linear {DISK} 0' &&"
                 f"dmsetup create state --table '0 {SECTORS} linear {STATE} 0' &&"
                 "/payload/vpcrash stain /dev/mapper/disk")
        format_disk(self.dom0, "/dev/mapper/disk", kind)
        self.run("dd if=/dev/mapper/disk of=/dev/mapper/state bs=1M iflag=direct oflag=direct"
                 " 2>/dev/null && dmsetup create recorded --table "
                 f"'0 {SECTORS} log-writes /dev/mapper/disk {LOG}'")
        rig.insert("/dev/mapper/recorded", kind)
        self.work.run(rig, self.mark)
        rig.remove()
        self.run("dmsetup remove recorded")
        self.entries = lines(self.run(f"/payload/vpcrash list {LOG}").out)
        self.ops = {op.number: op for op in self.work.begun}
        self.replayed = 0

    def close(self):
        self.run("dmsetup remove disk state")

    def run(self, command):
        """In dom0, where no udev makes device nodes."""
        return self.dom0.run(f"export DM_DISABLE_UDEV=1; {command}", timeout=60)

    def mark(self, words):
        self.run(" && ".join(f"dmsetup message recorded 0 mark {word}" for word in words))

    def marked(self, word, told):
        """The operations so marked in the first `told` entries."""
        marks = [entry["mark"] for entry in self.entries[:told] if "mark" in entry]
        return [self.ops[int(mark.split("-")[1])] for mark in marks if mark.startswith(word)]

    def expected(self, told):
        return expected(self.marked("begun", told), self.marked("done", told))

    def points(self, draw):
        """Every flush and FUA write that changed something; between them some at random."""
        points, cached = [], []
        flushes = [i for i, entry in enumerate(self.entries) if entry["flush"]]
        for flushed, end in zip([0, *(i + 1 for i in flushes)], [*flushes, len(self.entries)]):
            bypass = [i for i in range(flushed, end) if self.entries[i]["fua"]]
            for upto, told in zip([flushed, *(i + 1 for i in bypass)], [*bypass, end]):
                point = Point(flushed, upto, told, "none")
                if not points or upto > flushed or self.differ(points[-1], point):
                    points.append(point)
            if any(entry["bytes"] and not entry["fua"] for entry in self.entries[flushed:end]):
                cached.append((flushed, end))
        between = draw.sample(cached, min(len(cached), POINTS // 3))
        between += draw.choices(cached, k=max(0, POINTS - len(points) - len(between)))
        points += [Point(flushed, end, end, str(draw.getrandbits(32))) for flushed, end in between]
        return sorted(points, key=lambda point: point.flushed)

    def differ(self, before, point):
        """Was anything written between the two flushes, or acknowledged behind the latter?"""
        return (any(entry["bytes"] for entry in self.entries[before.flushed:point.flushed]) or
                any(entry.get("mark", "").startswith("done")
                    for entry in self.entries[point.flushed:point.told]))

    def replay(self, end):
        """Bring the state on to the first `end` entries."""
        self.run(f"/payload/vpcrash replay {LOG} /dev/mapper/state {self.replayed} {end}")
        self.replayed = end

    def check(self, told, replay=""):
        """After the state, changed by a further replay, which is forgotten again."""
        point = "/dev/mapper/point"
        if replay:
            replay = f"/payload/vpcrash replay {LOG} {point} {replay};"
        return check_disk(self.dom0, point, self.kind, self.expected(told), before=(
            "export DM_DISABLE_UDEV=1; dmsetup create point --table "
            f"'0 {SECTORS} snapshot /dev/mapper/state {CHANGES} N 8'; {replay}"),
            after="dmsetup remove point")


@pytest.fixture(params=FILESYSTEMS)
def recording(rig, request):
    recording = Recording(rig, request.param, SEED)
    yield recording
    recording.close()


def check_that_losses_are_found(recording):
    """The data of an acknowledged operation was never written: that must be noticed."""
    targets = {op.file.rstrip("0123456789"): op for op in recording.work.done
               if op.kind == "receive" and op.how and op.length > 100000}
    assert len(targets) >= 2
    for op in targets.values():
        lost = [i for i, entry in enumerate(recording.entries)
                if op.at <= entry.get("at", -1) < op.at + op.length]
        told = next(i for i, entry in enumerate(recording.entries)
                    if entry.get("mark") == f"done-{op.number}") + 1
        replay = f"0 {told} {' '.join(f'without:{i}' for i in lost)}"
        wrong, _ = recording.check(told, replay)
        print(f"{op.file}: {len(lost)} writes left out: {wrong}")
        assert lost and wrong and all(one["file"] == op.file and one["found"].startswith("the ")
                                      for one in wrong)
        wrong, _ = recording.check(told, f"0 {told}")
        assert not wrong


def test_power_cuts(recording, record_property):
    work = recording.work
    assert work.offloaded > 0.8 * work.bytes_moved()
    check_that_losses_are_found(recording)
    points = recording.points(random.Random(SEED))
    compared = 0
    for point in points:
        if point.flushed > recording.replayed:
            recording.replay(point.flushed)
        wrong, summary = recording.check(
            point.told, f"{point.flushed} {point.end} volatile:{point.volatile}")
        assert not wrong, f"seed {SEED}, {point}: {wrong}"
        compared += summary["bytes"]
    # All was recorded: the end of the log is the disk.
    recording.replay(len(recording.entries))
    recording.run("cmp /dev/mapper/disk /dev/mapper/state")
    counts = {"entries": len(recording.entries), "points": len(points), "bytes": compared,
              "between": sum(point.volatile != "none" for point in points)}
    print(f"{recording.kind}: {counts}")
    for name, count in counts.items():
        record_property(name, count)
