#!/usr/bin/python3
"""
Is vPipe as fast as it was? A few cases in virtual time, in which the same work takes the same
time on any machine, against bench/expected.json. The median of three rounds that differs by
more than the tolerance that was measured there is a failure, in both directions: who makes
it faster learns it anew.

    make bench-smoke
    bench/smoke.py --learn 15   measure so often, three times in a boot, write expected.json
"""

import argparse
import json
import pathlib
import sys
import time

TOP = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(TOP / "lab"))
from demo import versions  # noqa: E402
from figures import SIZE, SMOKE  # noqa: E402
from lab import LabError  # noqa: E402
from results import value  # noqa: E402
from stage import Stage  # noqa: E402
from summary import summary, tolerance  # noqa: E402
from sweep import sweep  # noqa: E402

EXPECTED, OUT = TOP / "bench/expected.json", TOP / "out/smoke.json"
METRICS = ("mb_per_s", "domu_cpu_s_per_gb", "dom0_cpu_s_per_gb")
ROUNDS = 3
# The start of a program takes 1.8 to 6.0 ms of the guest's CPU, and differs more from snapshot to
# snapshot than in one (fig6, transfers of nothing): of 64 MiB, that is so many seconds a GB.
LEAST = {"domu_cpu_s_per_gb": 0.06}


def name(case):
    return f"{case.pipe}, {case.way}, {case.burners} busy"


def values(results):
    """Case and metric -> values of the rounds."""
    return {name(case): {metric: [value(run, metric) for run in runs] for metric in METRICS
                         if metric != "domu_cpu_s_per_gb" or case.way != "native"}
            for case, runs in results.items()}


def measure(stage, rounds):
    """Each ROUNDS of them in another boot, since those differ by more than rounds do."""
    results = {case: [] for case in SMOKE}
    for first in range(0, rounds, ROUNDS):
        if first:
            stage.forget_snapshot()
        for case, runs in sweep(stage, SMOKE, ROUNDS, lambda _: None, first=first).items():
            results[case] += runs
    return results


def learned(measured):
    """What bench/expected.json has of each."""
    return {case: {metric: {"value": round(summary(found).median, 4),
                            "tolerance": round(max(tolerance(found), LEAST.get(metric, 0)), 4)}
                   for metric, found in metrics.items()}
            for case, metrics in measured.items()}


def compare(measured, expected):
    """(case, metric, value, expected, difference, is that right?)"""
    for case, metrics in measured.items():
        for metric, found in metrics.items():
            wanted = expected.get(case, {}).get(metric)
            of = summary(found)
            if wanted is None or of is None:
                yield case, metric, of and of.median, None, None, False
                continue
            off = of.median - wanted["value"]
            yield case, metric, of.median, wanted["value"], off, abs(off) <= wanted["tolerance"]


def show(case, metric, value_, wanted, off, good):
    if off is None:
        print(f"{case:45}{metric:20} {'failed' if value_ is None else 'not expected'}")
    else:
        print(f"{case:45}{metric:20}{value_:12.4f}{wanted:12.4f}{off:+12.4f}"
              f"{'' if good else '   NOT AS EXPECTED'}")


def main():
    parser = argparse.ArgumentParser(description="Is vPipe as fast as it was?")
    parser.add_argument("--learn", type=int, metavar="ROUNDS",
                        help="9, 12, ...: each three in another boot")
    args = parser.parse_args()
    if args.learn is not None and (args.learn < 3 * ROUNDS or args.learn % ROUNDS):
        parser.error(f"a tolerance takes {3 * ROUNDS} rounds at least, {ROUNDS} in each boot")
    began = time.monotonic()
    try:
        with Stage(virtual=True, sizes=(SIZE,), burners=0) as stage:
            which = versions(stage)
            results = measure(stage, args.learn or ROUNDS)
    except LabError as error:
        return f"smoke: FAILED: {error}"
    measured = values(results)
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps({**which, "measured": measured}, indent=2) + "\n")
    if any("error" in run for runs in results.values() for run in runs):
        return "smoke: FAILED: not all was measured"
    if args.learn:
        EXPECTED.write_text(json.dumps({**which, "rounds": args.learn,
                                        "cases": learned(measured)}, indent=2) + "\n")
    if not EXPECTED.exists():
        return f"smoke: FAILED: there is no bench/expected.json: --learn {3 * ROUNDS}"
    expected = json.loads(EXPECTED.read_text())
    if {key: expected[key] for key in which} != which:
        print(f"smoke: bench/expected.json is of other versions: {expected['dom0_kernel']}, "
              f"Xen {expected['xen_version']}; learn anew")
    bad = 0
    for row in compare(measured, expected["cases"]):
        show(*row)
        bad += not row[-1]
    print(f"smoke: {time.monotonic() - began:.0f} s, "
          + (f"FAILED: {bad} figures are not as expected" if bad else "as expected"))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
