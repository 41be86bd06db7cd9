"""
The figures: which cases each has, and how many rounds are enough. Those that are no sweeps
over cases have files of their own (breakeven.py, costs.py, growth.py, memory.py).

A figure's run(stage, rounds, done) returns its part of out/bench.json, and calls done() with
as much as there is after each round.
"""

import functools
from collections import namedtuple

import breakeven
import costs
import growth
import memory
import schedulers
from cases import ORDINARY, PIPES, ROOTS, WAYS, Case
from sweep import cells, sweep

SIZE = 64       # MiB of a transfer; one of the stage's files
NOTHING = 0     # what the program and its connection take without a transfer
SYNC_SIZE = 16  # where each write of an ordinary way waits for the disk
BURNERS = range(4)
FEW = ("vpipe", "native")

BOTH = ("virtual", "real")
# times: in which does it mean anything?
Figure = namedtuple("Figure", "title run stage rounds times", defaults=(BOTH,))


def run_sweep(wanted, stage, rounds, done):
    return cells(sweep(stage, wanted(stage), rounds, lambda results: done(cells(results))))


def co_located(pipe, _):
    return [Case(pipe, way.name, burners, SIZE)
            for burners in BURNERS for way in WAYS[pipe]]


def synchronous(_):
    return [Case("socket_to_file", way, burners, SYNC_SIZE, sync="each write")
            for burners in BURNERS for way in ("read 64 KiB", "splice", *FEW)]


def sizes(pipe, stage):
    return [Case(pipe, way, 2, mebibytes) for mebibytes in sorted(stage.sizes)
            for way in (ORDINARY[pipe], *FEW)]


def cpu(_):
    ways = {(pipe, way): None for pipe in LETTERS.values()
            for way in ("read 64 KiB", ORDINARY[pipe], *FEW)}
    return [*(Case(pipe, way, 0, SIZE) for pipe, way in ways),
            *(Case(pipe, ORDINARY[pipe], 0, NOTHING) for pipe in LETTERS.values())]


def caches(_):
    return [Case("file_to_socket", way, 0, SIZE, cache)
            for cache in ("cold", "warm") for way in ("read 64 KiB", "sendfile", *FEW)]


def disks(_):
    return [Case(pipe, way, 0, SIZE, disk=disk)
            for pipe in ("file_to_socket", "socket_to_file") for disk in ROOTS
            for way in (ORDINARY[pipe], *FEW)]


def scheduling(_):
    return [Case("file_to_socket", way, burners, SIZE)
            for burners in BURNERS for way in ("sendfile", *FEW)]


def _sweep(title, wanted, rounds, times=BOTH, **stage):
    return Figure(title, functools.partial(run_sweep, wanted), stage, rounds, times)


def _scheduler(title, scheduler):
    """In real time the host's scheduler would have a say in it."""
    return Figure(f"file → socket, {title}", functools.partial(schedulers.run, scheduling),
                  {"scheduler": scheduler, "sizes": (SIZE,)}, 5, ("virtual",))


LETTERS = dict(zip("abcd", ("file_to_socket", "socket_to_file", "socket_to_socket",
                            "file_to_file"), strict=True))
FIGURES = {
    **{f"fig4{letter}": _sweep(f"{PIPES[pipe]}, co-located domains",
                               functools.partial(co_located, pipe), 3)
       for letter, pipe in LETTERS.items()},
    "fig4d-one": _sweep("file → file on one disk, co-located domains",
                        functools.partial(co_located, "within_disk"), 3),
    "fig4b-sync": _sweep("socket → file with O_SYNC, co-located domains", synchronous, 3),
    **{f"fig5{letter}": _sweep(f"{PIPES[pipe]}, sizes, two co-located domains",
                               functools.partial(sizes, pipe), 3)
       for letter, pipe in LETTERS.items()},
    "fig6": _sweep("CPU time", cpu, 3),
    "caches": _sweep("cold and warm caches", caches, 3),
    "disk": _sweep("a disk of the machine instead of a RAM disk", disks, 3,
                   ("real",),           # the disk's time is the host's
                   emulated_disk=True),
    "credit": _scheduler("the credit scheduler", "credit"),
    # Does it wait for time slices? Then this is better.
    "credit-1ms": _scheduler("credit with slices of 1 ms", "credit sched_credit_tslice_ms=1"),
    "credit2": _scheduler("the credit2 scheduler", "credit2"),
    # Who wakes waits until the one that runs has had a millisecond. Is it that?
    "credit2-0us": _scheduler("credit2 without its rate limit", "credit2 sched_ratelimit_us=0"),
    "breakeven": Figure("small transfers", breakeven.run, {}, 3),
    "costs": Figure("requests, events and grants", costs.run, {}, 1),
    "growth": Figure("how the cost grows", growth.run, {}, 3),
    "memory": Figure("memory of open operations", memory.run, {}, 1,
                     ("real",)),        # the peer's memory would be dom0's
}
# Without busy domains: what those cost depends on the boot that the snapshot is of.
SMOKE = [Case(pipe, way, 0, SIZE)
         for pipe, ways in (("file_to_socket", ("sendfile", *FEW)), ("socket_to_socket", FEW))
         for way in ways]
