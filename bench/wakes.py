"""
How long the guest waits for its CPU each time it wakes, and why: out of Xen's own trace
(xentrace, in dom0) of one sendfile beside busy domains.

A trace is a row of records: a word that says which event, how many words follow and whether
the time comes first (xen/include/public/trace.h). Only in virtual time: the TSC counts its
nanoseconds there.
"""

import bisect
import struct
from collections import namedtuple

from cases import Case
from lab import LabError
from measure import Bench

CPU_CHANGE, LOST = 0x1F003, 0x1F001     # whose records follow; some were lost
STATE, RUNNING, RUNNABLE, BLOCKED = 0x21001, 0, 1, 2     # | old << 8 | new << 4
WOKE = STATE | BLOCKED << 8 | RUNNABLE << 4
# Of csched2's tickle_score() and runq_tickle(), for a vCPU that has woken; and credit's.
CHECK, TICKLE, TICKLE_CREDIT = 0x22205, 0x22206, 0x22006
CLASS, SCHEDULE = 0x22000, (0x22215, 0x22009)   # a scheduler's own; it decides who runs
TRACE, MASK = "/tmp/trace", 0x23000             # runstates and what is the scheduler's own
PREEMPTS, POORER = "may preempt", "has less credit"
HELD = "is held back"   # by the rate limit; or that CPU is about to look for itself

Record = namedtuple("Record", "time event words")


def records(data):
    """CPU -> its records, in order."""
    cpus, current, at = {}, None, 0
    while at < len(data):
        header, = struct.unpack_from("<I", data, at)
        event, number, timed = header & 0xFFFFFFF, header >> 28 & 7, header >> 31
        time, = struct.unpack_from("<Q", data, at + 4) if timed else (None,)
        at += 12 if timed else 4
        words = struct.unpack_from(f"<{number}i", data, at)
        at += 4 * number
        if event == LOST:
            raise LabError("Xen's trace has lost records")
        if event == CPU_CHANGE:
            current = cpus.setdefault(words[0], [])
        else:
            current.append(Record(time, event, words))
    return cpus


def why(stream, at):
    """What comes of the wake before record `at`: the scheduler's own records, up to a decision."""
    reason = HELD
    for record in stream[at:]:
        if record.event in (TICKLE, TICKLE_CREDIT):
            return PREEMPTS
        if record.event & ~0xFFF != CLASS or record.event in SCHEDULE:
            break
        if record.event == CHECK:
            reason = POORER
    return reason


def wakes(data, domain=1):
    """Reason -> how long each such wake waited, ms."""
    cpus, found = records(data), {}
    began = sorted(record.time for stream in cpus.values() for record in stream
                   if record.event & ~0x300 == STATE | RUNNING << 4
                   and record.words[0] >> 16 == domain)
    for stream in cpus.values():
        for at, record in enumerate(stream):
            if record.event == WOKE and record.words[0] >> 16 == domain:
                next_ = bisect.bisect(began, record.time)
                if next_ < len(began):
                    found.setdefault(why(stream, at + 1), []).append(
                        (began[next_] - record.time) / 1e6)
    return found


def measure(stage, busy, mebibytes):
    """Of one sendfile: reason -> wakes, their waits together, the longest."""
    stage.restore()
    with stage.burning(busy):
        tracer = stage.dom0.spawn(f"exec xentrace -D -e {MASK:#x} -S 256 {TRACE}", stdin=None)
        stage.dom0.run(f"until [ -s {TRACE} ]; do usleep 10000; done")
        Bench(stage).once(Case("file_to_socket", "sendfile", busy, mebibytes))
        tracer.kill()
        tracer.wait(60)
        found = wakes(stage.dom0.read_file(TRACE))
    return {"burners": busy, "wakes": {
        reason: {"number": len(waits), "ms": round(sum(waits), 3), "longest": round(max(waits), 3)}
        for reason, waits in found.items()}}
