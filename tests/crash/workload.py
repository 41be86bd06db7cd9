"""
What runs when the power goes, and what may be found afterwards.

A Workload is a list of rounds of a few operations at once, all of them drawn from one
seed: socket to file and file to file, into new files, over old content, into holes and
unwritten ranges, with O_SYNC, O_DSYNC, fsync or none, ordinary writes and removals. Every
file and every operation has its own part of the pattern, so each sector tells where it
comes from.

expected() tells which sectors a file may have, from which operations had begun and which
were acknowledged: those of the last acknowledged operation or of any that came later; or
what was there before: the old content, or zeros, but never anything else.
"""

import random
import time
from dataclasses import dataclass
from typing import Optional

from pipes import MIB, source
from rig import PEER, lines

FOLDER = "/fs"
AT_ONCE = 4
SOURCE = "source"
TARGETS = {"old": 6, "hole": 4, "unwritten": 4}     # how many files of each there are


@dataclass
class Prepared:
    """A file that is there before; at: where in the pattern it begins, None: zeros."""
    name: str
    size: int
    at: Optional[int] = None
    unwritten: bool = False

    def command(self, folder):
        path = f"{folder}/{self.name}"
        if self.at is not None:
            return f"/payload/vpcrash write {path} 0 {self.size} {self.at}"
        return f"{'fallocate -l' if self.unwritten else 'truncate -s'} {self.size} {path}"


def _prepare():
    files = [Prepared(SOURCE, 4 * MIB), *(Prepared(f"gone{i}", MIB) for i in range(4)),
             *(Prepared(f"old{i}", MIB + 77 + i) for i in range(TARGETS["old"]))]
    for number, file in enumerate(files):
        file.at = (1 + number) << 32
    return (files + [Prepared(f"hole{i}", 3 * MIB // 2) for i in range(TARGETS["hole"])] +
            [Prepared(f"unwritten{i}", 3 * MIB // 2, unwritten=True)
             for i in range(TARGETS["unwritten"])])


PREPARED = _prepare()


@dataclass
class Op:
    """kind: receive, copy, write, remove; how: None: it is never acknowledged."""
    number: int
    kind: str
    file: str
    how: Optional[str] = None
    offset: int = 0
    length: int = 0
    asked: int = 0          # what is asked for of a stream that may be shorter
    start: int = 0          # where in SOURCE a copy begins

    @property
    def at(self):
        """Where in the pattern its bytes begin."""
        if self.kind == "receive":
            return (100 + self.number) << 32
        return PREPARED[0].at + self.start

    @property
    def end(self):
        return self.offset + self.length

    @property
    def path(self):
        return f"{FOLDER}/{self.file}"

    def start_on(self, rig):
        """The job in the guest, and the one on the peer that feeds it."""
        how, feeder = self.how if self.how in ("sync", "dsync") else "", None
        if self.kind == "receive":
            feeder, port = source(rig, self.length, at=self.at)
            command = (f"/payload/vptest take {PEER} {port} {self.path} {self.offset} "
                       f"{self.asked} {how}")
        elif self.kind == "copy":
            command = (f"/payload/vptest copy {FOLDER}/{SOURCE} {self.path} {self.start} "
                       f"{self.length} {self.offset} {how}")
        elif self.kind == "write":
            command = (f"dd if={FOLDER}/{SOURCE} of={self.path} bs=64K status=none conv=notrunc "
                       f"iflag=skip_bytes,count_bytes oflag=seek_bytes skip={self.start} "
                       f"count={self.length} seek={self.offset}")
        else:
            command = f"rm {self.path}"
        if self.how == "fsync":
            command += f" && sync {self.path}"
        return rig.guest.spawn(command), feeder


class Workload:
    def __init__(self, seed):
        self.random = random.Random(seed)
        kinds = [(kind, target, how) for kind in ("receive", "copy")
                 for target in ("new", *TARGETS) for how in ("sync", "dsync", "fsync", None)]
        kinds += [("write", target, how) for target in ("new", *TARGETS)
                  for how in ("fsync", None)]
        kinds += [("short", "new", how) for how in ("sync", "dsync", "fsync", None)]
        kinds += [("remove", f"gone{i}", None) for i in range(4)]
        self.random.shuffle(kinds)
        self.used = dict.fromkeys(TARGETS, 0)
        ops = [self._make(number, *kind) for number, kind in enumerate(kinds)]
        self.rounds = [ops[i:i + AT_ONCE] for i in range(0, len(ops), AT_ONCE)]
        self.begun, self.done, self.offloaded = [], [], 0

    def _make(self, number, kind, target, how):
        draw = self.random
        if kind == "remove":
            return Op(number, kind, target)
        if target == "new":
            file, offset = f"new{number}", draw.choice([0, 0, draw.randrange(100000)])
        else:
            # More of each than run at once: no two of a round have the same.
            file, offset = f"{target}{self.used[target] % TARGETS[target]}", draw.randrange(MIB)
            self.used[target] += 1
        length = draw.choice([draw.randrange(1, 9000), draw.randrange(9000, 200000),
                              draw.randrange(200000, 3 * MIB // 2)])
        if kind == "short":
            return Op(number, "receive", file, how, offset, length, length + 5 * MIB)
        # Blocks of the source must be blocks of the sink, else it is not offloaded.
        start = draw.randrange(2 * MIB // 4096) * 4096 + offset % 4096
        return Op(number, kind, file, how, offset, length, length, start)

    def begin(self, rig, ops):
        self.begun += ops
        return [(op, *op.start_on(rig)) for op in ops]

    def end(self, op, job, feeder):
        """When the job has ended: was it right?"""
        out = lines(job.wait(timeout=120, check=True).out)
        if feeder:
            feeder.wait(timeout=30, check=True)
        if out:
            assert (out[0]["moved"], out[0]["errno"]) == (op.length, 0), (op, out)
            self.offloaded += out[0]["offloaded"]
        self.done.append(op)

    def run(self, rig, mark):
        """To the end; mark(words) is called before an operation begins, and when it ended."""
        for ops in self.rounds:
            mark([f"begun-{op.number}" for op in ops])
            for op, job, feeder in self.begin(rig, ops):
                self.end(op, job, feeder)
                mark([f"done-{op.number}"])

    def run_until(self, rig, kill):
        """Some rounds; somewhere in the last of them kill() is called."""
        rounds = self.rounds[:self.random.randrange(1, 6)]
        for ops in rounds[:-1]:
            for running in self.begin(rig, ops):
                self.end(*running)
        jobs = self.begin(rig, rounds[-1])
        # Not for anything to happen: any moment will do.
        moment = self.random.uniform(0, 0.6)
        time.sleep(moment)
        for running in jobs:
            if running[1].done():
                self.end(*running)
        kill()
        return moment

    def bytes_moved(self):
        return sum(op.length for op in self.done if op.kind in ("receive", "copy"))


def expected(begun, done):
    """For vpcrash check: what the files may be, when so much was begun and acknowledged."""
    files = {file.name: file for file in PREPARED}
    text = []
    for name in [*files, *sorted({op.file for op in begun} - set(files))]:
        ops = [op for op in begun if op.file == name]
        text += _expected_file(files.get(name), name, ops, done)
    return "".join(f"{line}\n" for line in text)


def _expected_file(prepared, name, ops, done):
    acknowledged = [op for op in ops if op in done and op.how]
    removed = any(op.kind == "remove" for op in ops)
    size = prepared.size if prepared else 0
    least = max([size, *(op.end for op in acknowledged)])
    most = max([size, *(op.end for op in ops)])
    needed = (prepared or acknowledged) and not removed
    yield f"file {name} {'needed' if needed else 'optional'} {least} {most}"
    cuts = sorted({0, size, most, *(op.offset for op in ops), *(op.end for op in ops)})
    for begin, end in zip(cuts, cuts[1:]):
        old = prepared and prepared.at is not None and begin < size
        values = [str(prepared.at + begin) if old else "zero"]
        for op in ops:
            if op.length and op.offset <= begin < op.end:
                value = str(op.at + begin - op.offset)
                values = [value] if op in acknowledged else [*values, value]
        yield f"part {begin} {end - begin} {' '.join(values)}"
