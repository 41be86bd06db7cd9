#!/usr/bin/python3
"""
Do domains share dom0 by weight? As Figure 7 of the paper: three guests of the weights
1:1:2 send a file each, from 0, 5 and 10 s on, until the last one ends at 20 s and the
others at 25 s. What dom0 moves for each is noted, second by second, and the shares of each
phase, without its first second, are compared with the weights.

    figure7     as above
    eight       eight guests of the weights 1 to 8, for 20 s
    hundred     one guest with 100 connections, another with one, for 15 s

Where nothing else is said a guest has two connections, so that it always has something to
send.

out/fairness.json has it all, out/fairness.svg is the drawing of the first. Emulated:
compare, do not quote.
"""

import argparse
import json
import os
import pathlib
import shutil
import subprocess
import sys
import time

TOP = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(TOP / "lab"))
from demo import versions  # noqa: E402
from fleet import Fleet, Meter, jain  # noqa: E402
from lab import Lab, LabError  # noqa: E402

OUT, PLOT = TOP / "out/fairness.json", TOP / "out/fairness.svg"
UNIT = 256      # the default weight
SETTLE = 1      # seconds at a phase's beginning that do not count
STEP = 5        # seconds between two starts of Figure 7


def say(text):
    print(f"fairness: {text}", flush=True)


def wait_until(moment):
    time.sleep(max(0, moment - time.monotonic()))


def phase(meter, names, weights, start, end):
    """Shares of those who send, and of what they should have."""
    shares = meter.shares(start + SETTLE, end)
    rates = meter.rates(start + SETTLE, end)
    whole = sum(weights[name] for name in names)
    of = {name: {"share": round(shares[i], 4), "fair": round(weights[name] / whole, 4),
                 "mb_per_s": round(rates[i], 1)}
          for i, name in enumerate(weights) if name in names}
    worst = max(abs(one["share"] / one["fair"] - 1) for one in of.values())
    return {"from": round(start + SETTLE - meter.zero, 2), "to": round(end - meter.zero, 2),
            "domains": of, "deviation": round(worst, 4),
            "jain": round(jain([one["share"] for one in of.values()],
                               [one["fair"] for one in of.values()]), 5),
            "mb_per_s": round(sum(one["mb_per_s"] for one in of.values()), 1)}


def seconds(meter, names, last):
    """Throughputs of each whole second."""
    rows = []
    for n in range(int(last - meter.zero)):
        rates = meter.rates(meter.zero + n, meter.zero + n + 1)
        rows.append({"second": n, **{name: round(rate, 1)
                                     for name, rate in zip(names, rates, strict=True)}})
    return rows


def figure7(fleet):
    weights = dict(zip(fleet.names[:3], (1, 1, 2), strict=True))
    fleet.weights(*(UNIT * weights.get(name, 1) for name in fleet.names))
    port = fleet.sink(6)
    meter, begin = Meter(fleet), time.monotonic()
    meter.zero = meter.now()
    marks = []
    for guest in range(3):
        wait_until(begin + STEP * guest)
        fleet.busy(guest, port)
        fleet.moving(guest)
        marks.append(meter.now())
    wait_until(begin + 4 * STEP)
    marks.append(meter.now())
    fleet.stop(2)
    marks.append(meter.now())
    wait_until(begin + 5 * STEP)
    marks.append(meter.now())
    meter.end()
    fleet.stop(0, 1)
    names = list(weights)
    phases = [phase(meter, names[:1], weights, marks[0], marks[1]),
              phase(meter, names[:2], weights, marks[1], marks[2]),
              phase(meter, names, weights, marks[2], marks[3]),
              phase(meter, names[:2], weights, marks[4], marks[5])]
    return {"weights": weights, "phases": phases,
            "seconds": seconds(meter, fleet.names, marks[-1])}


def steady(fleet, weights, connections, length):
    """All at the same time. connections: of each; None: two (Fleet.busy)."""
    fleet.weights(*(UNIT * weights.get(name, 1) for name in fleet.names))
    port = fleet.sink(sum(number or 2 for number in connections))
    meter = Meter(fleet)
    meter.zero = meter.now()
    guests = range(len(weights))
    for guest in guests:
        if connections[guest]:
            fleet.send(guest, port, connections[guest])
        else:
            fleet.busy(guest, port)
    fleet.moving(*guests)
    start = meter.now()
    time.sleep(length)
    end = meter.now()
    meter.end()
    fleet.stop(*guests)
    return {"weights": weights, "connections": connections,
            "phases": [phase(meter, list(weights), weights, start, end)],
            "seconds": seconds(meter, fleet.names, end)}


def eight(fleet):
    return steady(fleet, {name: n + 1 for n, name in enumerate(fleet.names)},
                  [None] * len(fleet.names), 20)


def hundred(fleet):
    return steady(fleet, dict.fromkeys(fleet.names[:2], 1), [100, 1], 15)


SCENARIOS = {"figure7": (figure7, 3), "hundred": (hundred, 2), "eight": (eight, 8)}


def plot(result):
    """By gnuplot, as the paper does: a line for each domain."""
    if not shutil.which("gnuplot"):
        say("no gnuplot here: no drawing")
        return
    names = list(result["weights"])
    data = "\n".join(" ".join(str(row[key]) for key in ("second", *names))
                     for row in result["seconds"])
    lines = ", ".join(f"$data using ($1+0.5):{n + 2} with linespoints lw 2 title "
                      f"'{name} (weight {result['weights'][name]})'"
                      for n, name in enumerate(names))
    script = (f"$data << EOD\n{data}\nEOD\nset terminal svg size 800,400\nset output '{PLOT}'\n"
              "set xlabel 'Time (s)'\nset ylabel 'Throughput (MB/s)'\nset yrange [0:]\n"
              f"set key top right\nset grid\nplot {lines}\n")
    subprocess.run(["gnuplot"], input=script, text=True, check=True)


def table(report):
    for name, result in report["scenarios"].items():
        for n, part in enumerate(result["phases"]):
            shares = "  ".join(f"{one['share']:.3f} ({one['fair']:.3f})"
                               for one in part["domains"].values())
            print(f"{name:9} {n}  {part['mb_per_s']:6.1f} MB/s  {shares}  "
                  f"off by {part['deviation']:.1%}, Jain {part['jain']:.4f}")


def main():
    parser = argparse.ArgumentParser(description="Do domains share dom0 by weight?")
    parser.add_argument("scenarios", nargs="*", help=f"of {', '.join(SCENARIOS)} (all)")
    wanted = parser.parse_args().scenarios or list(SCENARIOS)
    if set(wanted) - set(SCENARIOS):
        parser.error("no such scenario")
    OUT.unlink(missing_ok=True)
    try:
        with Lab() as lab:
            number = max(SCENARIOS[name][1] for name in wanted)
            say(f"making {number} guests")
            fleet = Fleet(lab, number)
            report = {**versions(lab), "scenarios": {}}
            for name in wanted:
                say(name)
                report["scenarios"][name] = SCENARIOS[name][0](fleet)
            bad_lines = lab.check_logs()
    except LabError as error:
        return f"fairness: FAILED: {error}"
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps(report, indent=2) + "\n")
    if "figure7" in report["scenarios"]:
        plot(report["scenarios"]["figure7"])
    table(report)
    print(f"{os.path.relpath(OUT)} has the numbers")
    for line in bad_lines:
        print(f"fairness: FAILED: {line}", file=sys.stderr)
    return 1 if bad_lines else 0


if __name__ == "__main__":
    sys.exit(main())
