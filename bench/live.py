"""
After how many periods do the shares follow a weight that is changed live?

Two guests that always have something to send; the weight of the first is 1 and 3 in turn,
that of the second 1. Time is counted in bytes that both have moved, so that it does not
matter how fast the host was just then, and a period is what credits are given for at once:
in the strict mode what the set rate makes of credit_period_ms, else a round.

Single periods say little, as a step moves up to 1 MiB. So the delay is that of the whole
course: as if the first had had its old share up to a moment and its new one from there on,
which gives the same bytes in the periods up to LOOK. It is counted from when the driver has
the weight; how long xenstore took is told too. The shares in each of the first periods are
those of all changes together.
"""

import time

from fleet import DEVICES
from shares import UNIT, check, set_weights

CHANGES = 24
HEAVY = 3       # the other weight
LOOK = 6        # periods after a change that are looked at; as many later ones are steady
PAUSE = 3 * LOOK + 3    # periods between two changes, if the rate stays as it was
SAMPLE_MS = 4
MIB = 1 << 20
OFF = 0.05      # of the share, in so few periods
RATE = 40       # MB/s that the strict mode shares out
MODES = {"work-conserving": 10, "strict": 100}     # ms of a period


def period_bytes(fleet, mode, period_ms):
    """credit.h: vpback_credit_set_rules()."""
    if mode == "strict":
        return RATE * 1000 * period_ms
    rates = [int(line.split()[1]) for line in
             fleet.dom0.run("cat /sys/kernel/debug/vpipe-back/capacity").out.splitlines()]
    return min(max(min(rates) * 1000 * period_ms, MIB // 4), 8 * MIB)


class Course:
    """What a meter has seen: time, bytes of both, the weight of the first."""

    def __init__(self, text):
        # The last line is cut off where the meter was killed.
        rows = [[float(word) for word in line.split()]
                for line in text.rpartition("\n")[0].splitlines() if line.count(" ") == 3]
        self.rows = [(t, a, a + b, weight) for t, a, b, weight in rows]

    def changes(self):
        """Numbers of the samples that are the first with another weight."""
        return [n for n in range(1, len(self.rows)) if self.rows[n][3] != self.rows[n - 1][3]]

    def when(self, n):
        """Half-way between that sample and the one before: time, bytes of the first, of both."""
        return [(x + y) / 2 for x, y in zip(self.rows[n - 1][:3], self.rows[n][:3], strict=True)]

    def first(self, n, total):
        """Bytes of the first when both together have moved so many, which is after sample n."""
        while n < len(self.rows) and self.rows[n][2] < total:
            n += 1
        if n == len(self.rows):
            return None
        (_, a, x, _), (_, b, y, _) = self.rows[n - 1], self.rows[n]
        return a + (b - a) * (total - x) / (y - x) if y > x else b


def one_change(course, n, end, period):
    """
    Bytes of the first at the end of each period after the change of sample n; None: sample
    `end`, which is the next change, came before the last of these.
    """
    _, base, total = course.when(n)
    if end < len(course.rows) and course.rows[end - 1][2] < total + period * 2 * LOOK:
        return None
    points = [course.first(n, total + period * k) for k in range(1, 2 * LOOK + 1)]
    return None if None in points else [0, *(point - base for point in points)]


def follow(course, period):
    """By the weight that was set: the delay in periods, and the shares."""
    seen = {}
    changes = course.changes()
    for n, end in zip(changes, [*changes[1:], len(course.rows)], strict=True):
        points = one_change(course, n, end, period)
        if points:
            seen.setdefault(int(course.rows[n][3]) // UNIT, []).append(points)
    steady = {weight: sum(p[2 * LOOK] - p[LOOK] for p in all_of) / (len(all_of) * LOOK * period)
              for weight, all_of in seen.items()}
    result = {}
    for weight, all_of in seen.items():
        new, old = steady[weight], steady[HEAVY + 1 - weight]
        lags = [(new * LOOK - p[LOOK] / period) / (new - old) for p in all_of]
        mean = sum(lags) / len(lags)
        spread = (sum((lag - mean) ** 2 for lag in lags) / len(lags)) ** 0.5
        result[weight] = {
            "changes": len(all_of), "delay_periods": round(mean, 3),
            "standard_error": round(spread / len(lags) ** 0.5, 3),
            "fair": weight / (weight + 1), "steady_share": round(new, 4),
            "shares_by_period": [round(sum(p[k + 1] - p[k] for p in all_of) /
                                       (len(all_of) * period), 4) for k in range(LOOK)]}
    return result


def watch(fleet, pause):
    """Change the weight again and again; what the meter saw, and when xenstore was written."""
    a, b = (f"{DEVICES}/vpipe-{domid}-0/statistics" for domid in fleet.domids[:2])
    meter = fleet.dom0.spawn(f"exec /payload/vptest meter {SAMPLE_MS} {a}/charged_bytes_total "
                             f"{b}/charged_bytes_total {a}/weight", stdin=None)
    meter.wait_output(r"\n", timeout=20)
    node = f"backend/vpipe/{fleet.domids[0]}/0/weight"
    said = fleet.dom0.run(
        f"for i in $(seq {CHANGES // 2}); do for weight in {HEAVY * UNIT} {UNIT}; do"
        f" read -r now _ </proc/uptime; echo $now; xenstore-write {node} $weight;"
        f" usleep {int(pause * 1e6)}; done; done; sleep 1", timeout=CHANGES * (pause + 2)).out
    meter.kill()
    meter.wait(timeout=20)
    return Course(meter.result().out), [float(line) for line in said.split()]


def measure(fleet, mode, period_ms):
    port = fleet.sink(8)
    period = period_bytes(fleet, mode, period_ms)
    fleet.parameter("credit_period_ms", period_ms)
    if mode == "strict":
        fleet.parameter("net_mbps", RATE)
    fleet.parameter("credit_mode", mode)
    for guest in 0, 1, 0, 1:    # four connections each: no gap in so short a time
        fleet.busy(guest, port)
    fleet.moving(0, 1)
    time.sleep(1)
    before, start = fleet.stat(0, "charged_bytes_total"), time.monotonic()
    time.sleep(2)
    # At weight 1 the first has half of all.
    rate = 2 * (fleet.stat(0, "charged_bytes_total") - before) / (time.monotonic() - start)
    course, written = watch(fleet, PAUSE * period / rate)
    fleet.stop(0, 1)
    for name, value in (("credit_mode", "work-conserving"), ("net_mbps", 0),
                        ("credit_period_ms", 10)):
        fleet.parameter(name, value)
    known = [course.when(n)[0] for n in course.changes()]
    late = [time - begun for time, begun in zip(known, written, strict=False)]
    spent = course.rows[-1][0] - course.rows[0][0]
    moved = course.rows[-1][2] - course.rows[0][2]
    return {"period_bytes": period, "period_ms": round(1000 * period * spent / moved, 1),
            "mb_per_s": round(moved / spent / 1e6, 1),
            "samples_per_s": round(len(course.rows) / spent),
            "xenstore_ms": round(1000 * sum(late) / len(late), 1),
            "to_weight": follow(course, period)}


def live(fleet):
    set_weights(fleet, {})
    modes = {mode: measure(fleet, mode, period_ms) for mode, period_ms in MODES.items()}
    checks = []
    for mode, result in modes.items():
        for weight, of in result["to_weight"].items():
            name = f"{mode}, to weight {weight}"
            checks += [check(f"{name}: delay, periods", of["delay_periods"], most=2),
                       check(f"{name}: then off its share, of the share",
                             abs(of["steady_share"] / of["fair"] - 1), most=OFF)]
    return {"modes": modes, "phases": [], "checks": checks}
