#!/usr/bin/python3
"""
The micro-benchmarks of the paper's section 5.1, in the lab: `make bench`.

out/bench.json has every measurement, out/bench.md the report, with drawings beside it. Each
figure can be made by itself, in virtual or in real time (docs/benchmark.md); those that were
made before stay in bench.json. Emulated: compare, do not quote.
"""

import argparse
import json
import pathlib
import sys
import time

TOP = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(TOP / "lab"))
from demo import versions  # noqa: E402
from figures import BOTH, FIGURES  # noqa: E402
from lab import LabError  # noqa: E402
from report import report, summary_lines  # noqa: E402
from results import VIRTUAL, Cells  # noqa: E402
from stage import Stage  # noqa: E402
from sweep import say  # noqa: E402

OUT, REPORT, README = TOP / "out/bench.json", TOP / "out/bench.md", TOP / "README.md"
BEGIN, END = "<!-- bench: made by make bench -->", "<!-- bench: end -->"


def chosen(word):
    """Figures that the user means: one, or all that begin so."""
    return [word] if word in FIGURES else [name for name in FIGURES if name.startswith(word)]


def jobs(names, only):
    """(figure, in virtual time?)"""
    return [(name, time == "virtual") for time in BOTH for name in names
            if only in (None, time) and time in FIGURES[name].times]


def load():
    return json.loads(OUT.read_text()) if OUT.exists() else {"figures": {}}


def save(bench):
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps(bench, indent=1) + "\n")


def measure(name, virtual, rounds, bench):
    """One figure, in a lab of its own; what there is is saved after each round."""
    figure, key = FIGURES[name], name + (VIRTUAL if virtual else "")
    began = time.monotonic()

    def done(part):
        bench["figures"][key] = part
        save(bench)
    say(f"{key}: {figure.title}")
    with Stage(virtual=virtual, **figure.stage) as stage:
        bench |= versions(stage)
        done(figure.run(stage, rounds or figure.rounds, done))
    say(f"{key}: {time.monotonic() - began:.0f} s")


def failures(bench, keys):
    return [f"{key}: {failure}" for key in keys if "cells" in bench["figures"].get(key, {})
            for failure in Cells(bench["figures"][key]).failures()]


def write_report(bench):
    REPORT.write_text(report(bench, OUT.parent) + "\n")
    readme = README.read_text()
    head, found, rest = readme.partition(BEGIN)
    if found and {"fig4a", "fig4a" + VIRTUAL} & set(bench["figures"]):
        tail = rest.partition(END)[2]
        README.write_text("\n".join([f"{head}{BEGIN}", *summary_lines(bench), f"{END}{tail}"]))


def main():
    parser = argparse.ArgumentParser(description="The paper's micro-benchmarks, in the lab")
    parser.add_argument("figures", nargs="*", metavar="FIGURE",
                        help=f"of {', '.join(FIGURES)} (all); fig4 is fig4a to fig4d")
    parser.add_argument("--rounds", type=int, help="how often (3; counts: once)")
    parser.add_argument("--time", choices=BOTH, help="in one only (in both)")
    parser.add_argument("--report", action="store_true",
                        help="measure nothing, write the report of what there is")
    args = parser.parse_args()
    wanted = dict.fromkeys(name for word in args.figures or [""] for name in chosen(word))
    if not all(map(chosen, args.figures)):
        parser.error("no such figure")
    bench, keys, failed = load(), [], []
    for name, virtual in [] if args.report else jobs(wanted, args.time):
        keys.append(name + (VIRTUAL if virtual else ""))
        try:
            measure(name, virtual, args.rounds, bench)
        except LabError as error:
            failed.append(f"{keys[-1]}: {error}")
            say(f"{keys[-1]}: FAILED: {error}")
    if bench["figures"]:
        write_report(bench)
        print(f"{REPORT.relative_to(TOP)} is the report, {OUT.relative_to(TOP)} has the numbers")
    failed += failures(bench, keys)
    for line in failed:
        print(f"bench: FAILED: {line}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
