#!/usr/bin/python3
"""
Do domains share dom0 by weight? As Figure 7 of the paper: three guests of the weights
1:1:2 send a file each, from 0, 5 and 10 s on, until the last one ends at 20 s and the
others at 25 s. What dom0 moves for each is noted, second by second, and the shares of each
phase, without its first second, are compared with the weights.

    figure7     as above; and what the last one had, the others have within a second
    hundred     one guest with 100 connections, another with one, for 15 s
    eight       eight guests of the weights 1 to 8, for 20 s
    slow        two guests beside one whose client reads at less than a hundredth of the speed
    mixed       four guests, each with another kind of pipe
    live        a weight that changes all the time (live.py)
    flood       two guests beside one that floods its ring (flood.py)

Where nothing else is said a guest has two connections, so that it always has something to
send.

out/fairness.json has it all, with a verdict on each scenario; out/fairness.svg is the drawing
of the first. The exit status is 1 when something does not hold. LAB='{"dom0_vcpus": 2}' is as
for the tests. Emulated: compare, do not quote.
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
from fleet import FILE, Fleet  # noqa: E402
from flood import flood  # noqa: E402
from lab import ADDRESSES, Lab, LabError  # noqa: E402
from live import live  # noqa: E402
from shares import (OFF, SETTLE, check, phase, say, seconds, set_weights,  # noqa: E402
                    started, stretch, wait_until, within)

OUT, PLOT = TOP / "out/fairness.json", TOP / "out/fairness.svg"
STEP = 5        # seconds between two starts of Figure 7
JAIN = 0.995    # of eight guests, at least
ENOUGH = 500 * 1000 * 1000  # bytes of each kind; some come 10 MiB at a time
WANTS = 0.9     # of the looks at a guest: it has something to move, or would if it might


def redistributed(meter, phases, end):
    """Seconds after `end` until those of the last phase have as much as they will have."""
    part = phases[-1]
    numbers = [meter.fleet.names.index(name) for name in part["domains"]]
    for tenth in range(1, 30):
        rates = meter.rates(end + tenth / 10 - 0.4, end + tenth / 10)
        if sum(rates[number] for number in numbers) >= 0.9 * part["mb_per_s"]:
            return tenth / 10
    return 3


def figure7(fleet):
    weights = dict(zip(fleet.names[:3], (1, 1, 2), strict=True))
    set_weights(fleet, weights)
    port = fleet.sink(6)
    meter, begin = started(fleet), time.monotonic()
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
    checks = [within(part, f"phase {n}") for n, part in enumerate(phases)]
    checks.append(check("seconds until the others have what the last one had",
                        redistributed(meter, phases, marks[4]), most=1))
    return {"weights": weights, "phases": phases, "checks": checks,
            "seconds": seconds(meter, marks[-1])}


def steady(fleet, weights, connections, length):
    """All at the same time. connections: of each; None: two (Fleet.busy)."""
    set_weights(fleet, weights)
    port = fleet.sink(sum(number or 2 for number in connections))
    meter = started(fleet)
    guests = range(len(weights))
    for guest in guests:
        if connections[guest]:
            fleet.send(guest, port, connections[guest])
        else:
            fleet.busy(guest, port)
    for guest in guests:
        fleet.opened(guest, connections[guest] or 2)
    start, end = stretch(meter, length - SETTLE)
    meter.end()
    fleet.stop(*guests)
    return {"weights": weights, "connections": connections,
            "phases": [phase(meter, list(weights), weights, start, end)],
            "seconds": seconds(meter, end)}


def eight(fleet):
    result = steady(fleet, {name: n + 1 for n, name in enumerate(fleet.names)},
                    [None] * len(fleet.names), 20)
    result["checks"] = [check("Jain's index", result["phases"][0]["jain"], least=JAIN)]
    return result


def hundred(fleet):
    result = steady(fleet, dict.fromkeys(fleet.names[:2], 1), [100, 1], 15)
    result["checks"] = [within(result["phases"][0])]
    return result


def slow(fleet):
    """The first guest's client is slow; the others are measured before, beside and after it."""
    weights = dict(zip(fleet.names[:3], (1, 1, 2), strict=True))
    others = fleet.names[1:3]
    set_weights(fleet, weights)
    port = fleet.sink(4)
    meter = started(fleet)
    for guest in 1, 2:
        fleet.busy(guest, port)
    fleet.moving(1, 2)
    before = stretch(meter, 8)
    fleet.port += 1
    client = fleet.peer.spawn(f"exec /payload/vptest client {fleet.port} slow", stdin=None)
    client.wait_output('"listening"', timeout=20)
    fleet.send(0, fleet.port)
    fleet.moving(0)
    time.sleep(2)       # what fits into buffers is no measure of the client
    beside = stretch(meter, 12)
    client.kill()
    fleet.stop(0)
    after = stretch(meter, 8)
    meter.end()
    fleet.stop(1, 2)
    phases = [phase(meter, others, weights, *ends) for ends in (before, beside, after)]
    without = (phases[0]["mb_per_s"] + phases[2]["mb_per_s"]) / 2
    own = meter.rates(beside[0] + SETTLE, beside[1])[0]
    return {"weights": weights, "phases": phases, "slow_mb_per_s": round(own, 2),
            "slow_part": round(own / without, 4),
            "seconds": seconds(meter, after[1]),
            "checks": [within(phases[1], "the others, off their share"),
                       check("what they move, to that without it",
                             phases[1]["mb_per_s"] / without, least=0.9)]}


KINDS = ("file to socket", "socket to file", "file to file", "socket to socket")


def start_kind(fleet, guest, sink, source):
    """So many of that kind that the guest has always something to move, if the peer has."""
    if not guest:
        fleet.busy(guest, sink)
        return
    peer, length = ADDRESSES["peer"], 30 << 20
    for n in range(6):
        what = (f"take {peer} {source} /fs/{n} {length}", f"copy {FILE} /fs/{n} {length}",
                f"relay {peer} {source} {peer} {sink}")[guest - 1]
        fleet.guests[guest].spawn(f"exec /payload/vptest pump {what}", stdin=None)


def look(fleet, guests, length):
    """For so long: how often each of the guests has a flow that moves, or waits for credits."""
    files = " ".join(f"/sys/kernel/debug/vpipe-back/{fleet.domids[guest]}-0/operations"
                     for guest in guests)
    out = fleet.dom0.run(
        f"end=$(($(date +%s) + {length})); while [ $(date +%s) -lt $end ]; do for f in {files}; do"
        " n=0; while read -r _ _ _ _ _ _ waits _; do case $waits in none|credit) n=1; esac;"
        " done <$f; echo -n \"$n \"; done; echo; usleep 300000; done", timeout=length + 30).out
    looks = [line.split() for line in out.splitlines()]
    return [sum(row[n] == "1" for row in looks) / len(looks) for n in range(len(guests))]


def look_until(fleet, guests, enough):
    """The same, until each of them has moved so much, or for a minute."""
    before, looks = [fleet.stat(guest, "charged_bytes_total") for guest in guests], []
    while len(looks) < 15 and (len(looks) < 4 or any(
            fleet.stat(guest, "charged_bytes_total") - was < enough
            for guest, was in zip(guests, before, strict=True))):
        looks.append(look(fleet, guests, 4))
    return [sum(column) / len(looks) for column in zip(*looks, strict=True)]


def waited(fleet, guest):
    """For credits, so far; seconds."""
    return fleet.stat(guest, "credit_wait_us_total") / 1e6


def mixed_checks(domains):
    """
    Those who have always something to move have the same for their weight, within 3 %; and
    nobody else, as they have all that they can take, has more than these.
    """
    per = {name: one["share"] / one["fair"] for name, one in domains.items()}
    bound = [name for name, one in domains.items() if one["wants"] >= WANTS]
    level = sum(per[name] for name in bound) / max(len(bound), 1)
    checks = [check("guests that have always something to move", len(bound), least=2)]
    for name in domains:
        if name in bound:
            checks.append(check(f"{domains[name]['kind']}: off the share of all who want more",
                                abs(per[name] / level - 1), most=OFF))
        elif level:
            checks.append(check(f"{domains[name]['kind']}, which has all it can take: to that"
                                " share", per[name] / level, most=1 + OFF))
    return checks


def mixed(fleet):
    """A guest for each kind; what each moves when it is alone, and all at once."""
    names, guests = fleet.names[:len(KINDS)], range(len(KINDS))
    weights = dict.fromkeys(names, 1)
    set_weights(fleet, weights)
    fleet.disk(1, "/dev/ram2")
    fleet.disk(2, "/dev/ram3")
    fleet.window(fleet.guests[3], 1 << 20)      # it has little memory, and six relays
    sink, source = fleet.sink(2 + 6), fleet.pour()
    meter = started(fleet)
    alone = []
    for guest in guests:
        start_kind(fleet, guest, sink, source)
        fleet.moving(guest)
        alone.append(stretch(meter, 4))
        fleet.stop(guest)
    for guest in guests:
        start_kind(fleet, guest, sink, source)
    fleet.moving(*guests)
    time.sleep(SETTLE)
    before, start = [waited(fleet, guest) for guest in guests], meter.now()
    wants = look_until(fleet, guests, ENOUGH)
    end = meter.now()
    waits = [(waited(fleet, guest) - before[guest]) / (end - start) for guest in guests]
    meter.end()
    left = [len(fleet.guests[guest].run("pidof vptest").out.split()) for guest in guests]
    fleet.stop(*guests)
    part = phase(meter, names, weights, start, end)
    for guest, name in enumerate(names):
        rates = meter.rates(alone[guest][0] + SETTLE, alone[guest][1])
        part["domains"][name] |= {"kind": KINDS[guest], "wants": round(wants[guest], 3),
                                  "waits": round(waits[guest], 3),
                                  "alone_mb_per_s": round(rates[guest], 1)}
    return {"weights": weights, "phases": [part], "seconds": seconds(meter, end),
            "checks": mixed_checks(part["domains"]) +
                      [check(f"{kind}: programs that dom0 still moves all for", number, least=most)
                       for kind, number, most in zip(KINDS, left, (2, 6, 6, 6), strict=True)]}


# In this order: after the last one a guest has another driver.
SCENARIOS = {"figure7": (figure7, 3), "hundred": (hundred, 2), "eight": (eight, 8),
             "slow": (slow, 3), "mixed": (mixed, 4), "live": (live, 2), "flood": (flood, 3)}


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
            print(f"{name:9} {part.get('name', n)}  {part['mb_per_s']:6.1f} MB/s  {shares}  "
                  f"off by {part['deviation']:.1%}, Jain {part['jain']:.4f}")
        for one in result["checks"]:
            bounds = ", ".join(f"at {key} {one[key]}" for key in ("least", "most") if key in one)
            print(f"{name:9} {'ok    ' if one['ok'] else 'FAILED'}  {one['what']}: "
                  f"{one['value']} ({bounds})")
        print(f"{name:9} {'pass' if result['pass'] else 'FAIL'}")


def main():
    parser = argparse.ArgumentParser(description="Do domains share dom0 by weight?")
    parser.add_argument("scenarios", nargs="*", help=f"of {', '.join(SCENARIOS)} (all)")
    wanted = parser.parse_args().scenarios or list(SCENARIOS)
    if set(wanted) - set(SCENARIOS):
        parser.error("no such scenario")
    OUT.unlink(missing_ok=True)
    try:
        with Lab(**json.loads(os.environ.get("LAB", "{}"))) as lab:
            number = max(SCENARIOS[name][1] for name in wanted)
            say(f"making {number} guests")
            fleet = Fleet(lab, number)
            report = {**versions(lab), "scenarios": {}}
            for name in (name for name in SCENARIOS if name in wanted):
                say(name)
                result = SCENARIOS[name][0](fleet)
                result["pass"] = all(one["ok"] for one in result["checks"])
                report["scenarios"][name] = result
                OUT.parent.mkdir(parents=True, exist_ok=True)
                OUT.write_text(json.dumps(report, indent=2) + "\n")
            bad_lines = lab.check_logs()
    except LabError as error:
        return f"fairness: FAILED: {error}"
    if "figure7" in report["scenarios"]:
        plot(report["scenarios"]["figure7"])
    table(report)
    print(f"{os.path.relpath(OUT)} has the numbers")
    for line in bad_lines:
        print(f"fairness: FAILED: {line}", file=sys.stderr)
    failed = [name for name, result in report["scenarios"].items() if not result["pass"]]
    for name in failed:
        print(f"fairness: FAILED: {name}", file=sys.stderr)
    return 1 if bad_lines or failed else 0


if __name__ == "__main__":
    sys.exit(main())
