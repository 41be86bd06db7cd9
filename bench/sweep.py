"""
Cases in rounds. A round goes through all cases and restores the warm snapshot for each
number of busy domains; the order of the cases is another one in each round (A B C, B C A),
so that none always comes after the same one.
"""

import itertools
import sys

import cases
from lab import LabError
from measure import Bench


def say(text):
    print(f"bench: {text}", flush=True)


def rotated(items, by):
    items = list(items)
    by %= max(len(items), 1)
    return items[by:] + items[:by]


def groups(wanted, number):
    """(busy domains, cases in this round's order)"""
    def burners(case):
        return case.burners
    for busy, group in itertools.groupby(sorted(wanted, key=burners), burners):
        yield busy, rotated(group, number)


def show(case):
    return (f"{cases.PIPES[case.pipe]}, {case.way}, {case.burners} busy, "
            f"{case.mebibytes} MiB, {case.cache}, {case.disk} disk")


def cells(results):
    """As a figure's part of out/bench.json."""
    return {"cells": [{**case._asdict(), "runs": runs} for case, runs in results.items()]}


def sweep(stage, wanted, rounds, done, first=0):
    """
    Case -> its measurements, one a round; done(them) after each round. What fails is
    {"error": why}, and what comes after it begins from a restore. first: the first round's
    number, which its order depends on.
    """
    results = {case: [] for case in wanted}
    for number in range(first, first + rounds):
        for busy, group in groups(wanted, number):
            _group(stage, busy, group, results)
        done(results)
    return results


def _group(stage, busy, group, results):
    while group:
        stage.restore()
        bench, mtu = Bench(stage), None
        with stage.burning(busy):
            while group:
                case, *group = group
                try:
                    if cases.MTU[case.pipe] != mtu:
                        mtu = cases.MTU[case.pipe]
                        stage.set_mtu(mtu)
                    result = bench.once(case)
                except LabError as error:
                    say(f"{show(case)}: FAILED: {error}")
                    results[case].append({"error": str(error)})
                    break
                say(f"{show(case)}: {result['mb_per_s']:.1f} MB/s")
                results[case].append(result)
            else:
                _check(stage, results)


def _check(stage, results):
    """What the kernels complained of spoils the measurement that was last."""
    for line in stage.check_logs():
        print(f"bench: FAILED: {line}", file=sys.stderr)
        last = next(reversed([runs for runs in results.values() if runs]))
        last[-1]["error"] = line
