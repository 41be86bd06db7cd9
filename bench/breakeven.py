"""
From what size on does a transfer by dom0 pay? Nothing else is busy.

    kept      transfers in a row on one connection
    cold      the same, each of another part of the file, too far from the last to be read ahead
    answered  as kept, and the peer's answer to each is waited for: then each takes a
              hand-over to dom0 and one back
    new       a connection for each, and connecting is timed too

The guest has the file in its cache after the first time, but for `cold`, and dom0 never has:
the worst case for vPipe.
"""

import itertools
import json

from cases import ADDRESSES, sink_command
from lab import LabError
from measure import Bench
from sweep import rotated, say

KIB = 1 << 10
MIB = 1 << 20
SIZES = [4 * KIB, 16 * KIB, 64 * KIB, 128 * KIB, 256 * KIB, MIB, 2 * MIB, 4 * MIB, 16 * MIB,
         64 * MIB]
STRIDE = 2 << 20            # from one to the next, cold
# The largest of a kind: the file has to be long enough; the peer looks at each byte.
LARGEST = {"cold": 1 << 20, "answered": 2 << 20}
KINDS = ("kept", "cold", "answered", "new")
MOST, LEAST_BYTES = 100, 32 << 20
PATTERN = 16 << 20
ANSWER = 100
WAYS = {"sendfile": ("--call sendfile", "file"), "vpipe": ("--path offload", "pipe")}


def number(size, most_bytes=LEAST_BYTES):
    """How many transfers one measurement has."""
    return max(1, min(MOST, most_bytes // size))


def in_a_row(bench, options, size, repeat, connections, stride=0, around="{}"):
    """Seconds for one of them. around: the command in the guest, where {} is the program's."""
    stage, port = bench.stage, bench.next_port()
    bench.forget()
    sink = stage.peer.spawn(sink_command(port, connections))
    sink.wait_output("listening", 60)
    command = (f"/payload/vpipe-send {options} --length {size} --repeat {repeat} "
               f"--stride {stride} --count {connections} /mnt/file {ADDRESSES['peer']} {port}")
    out = stage.guest.run(around.format(command), timeout=300).out
    sink.wait(60, check=True)
    return json.loads(out)["seconds"] / (repeat * connections)


def answered(bench, step, size):
    """The median of the times from one answer to the next."""
    stage, port = bench.stage, bench.next_port()
    bench.forget()
    peer = stage.peer.spawn(f"exec /payload/vptest duplex --answer {size}:{ANSWER} {port}")
    peer.wait_output("listening", 60)
    out = stage.guest.run(
        f"/payload/vptest talk --nodelay 1 --repeat {number(size, PATTERN)} {ADDRESSES['peer']} "
        f"{port} /fs/pattern {step}:{size} recv:{ANSWER} lap", timeout=300).out
    peer.wait(60, check=True)
    lines = [json.loads(line) for line in out.splitlines()]
    done = next(line for line in lines if "done" in line)
    if step == "pipe" and done["copied"]:
        raise LabError(f"not all was moved by dom0: {done}")
    return next(line["median"] for line in lines if line.get("step") == "lap") / 1e6


def once(bench, kind, way, size):
    options, step = WAYS[way]
    if kind == "answered":
        return answered(bench, step, size)
    many = number(size)
    if kind == "new":
        return in_a_row(bench, options, size, 1, many)
    return in_a_row(bench, options, size, many, 1, STRIDE if kind == "cold" else 0)


def run(stage, rounds, done):
    wanted = [(kind, way, size) for size in SIZES for kind in KINDS
              for way in WAYS if size <= LARGEST.get(kind, size)]
    found = {what: [] for what in wanted}

    def report():
        return {"small": [{"kind": kind, "way": way, "bytes": size, "seconds": seconds}
                          for (kind, way, size), seconds in found.items()]}
    for turn in range(rounds):
        stage.restore()
        bench = Bench(stage)
        stage.set_mtu(9000)
        stage.guest.run(f"/payload/vptest fill /fs/pattern 0 {PATTERN}; sync", timeout=60)
        for what in itertools.product(KINDS, WAYS, [64 * KIB]):
            once(bench, *what)      # the emulator has translated it then
        for what in rotated(wanted, turn):
            found[what].append(once(bench, *what))
            say("{0}, {1}, {2} bytes: {3:.3f} ms".format(*what, 1e3 * found[what][-1]))
        done(report())
    return report()
