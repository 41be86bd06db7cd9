"""
A scheduler of Xen: sendfile, vPipe and native beside busy domains, and how long the guest
waits for its CPU. What a busy domain costs differs from boot to boot, so each round has a
snapshot of its own.
"""

import wakes
from sweep import cells, sweep

TRACED = (1, 2)     # busy domains


def run(wanted, stage, rounds, done):
    wanted = wanted(stage)
    results, traced, part = {case: [] for case in wanted}, [], {}
    for number in range(rounds):
        if number:
            stage.forget_snapshot()
        for case, runs in sweep(stage, wanted, 1, lambda _: None, first=number).items():
            results[case] += runs
        traced += [wakes.measure(stage, busy, wanted[0].mebibytes) for busy in TRACED]
        part = {**cells(results), "wakes": traced}
        done(part)
    return part
