"""What the scenarios of bench/fairness.py measure with, and how they are judged."""

import time

from fleet import Meter, jain

UNIT = 256      # the default weight
SETTLE = 1      # seconds at a phase's beginning that do not count
OFF = 0.03      # of its share that a domain may have more or less


def say(text):
    print(f"fairness: {text}", flush=True)


def check(what, value, least=None, most=None):
    """A line of a verdict: the value, its bounds, and whether it is within them."""
    good = (least is None or value >= least) and (most is None or value <= most)
    bounds = {key: bound for key, bound in (("least", least), ("most", most))
              if bound is not None}
    return {"what": what, "value": round(value, 4), **bounds, "ok": good}


def wait_until(moment):
    time.sleep(max(0, moment - time.monotonic()))


def started(fleet):
    """A meter whose time begins now."""
    meter = Meter(fleet)
    meter.zero = meter.now()
    return meter


def stretch(meter, length):
    """From now on, so many seconds after it has settled; its ends."""
    start = meter.now()
    time.sleep(SETTLE + length)
    return start, meter.now()


def set_weights(fleet, weights):
    """weights: by name; of who is not among them: 1."""
    fleet.weights(*(UNIT * weights.get(name, 1) for name in fleet.names))


def phase(meter, names, weights, start, end):
    """Shares of those who send, and what they should be; the first names of the fleet."""
    rates = dict(zip(meter.fleet.names, meter.rates(start + SETTLE, end), strict=True))
    whole, moved = sum(weights[name] for name in names), sum(rates[name] for name in names)
    of = {name: {"share": round(rates[name] / moved, 4), "fair": round(weights[name] / whole, 4),
                 "mb_per_s": round(rates[name], 1)} for name in names}
    worst = max(abs(one["share"] / one["fair"] - 1) for one in of.values())
    return {"from": round(start + SETTLE - meter.zero, 2), "to": round(end - meter.zero, 2),
            "domains": of, "deviation": round(worst, 4),
            "jain": round(jain([one["share"] for one in of.values()],
                               [one["fair"] for one in of.values()]), 5),
            "mb_per_s": round(moved, 1)}


def within(part, what="off its share"):
    """The verdict on a phase."""
    return check(f"{what}, of the share", part["deviation"], most=OFF)


def seconds(meter, last):
    """Throughputs of each whole second."""
    rows = []
    for n in range(int(last - meter.zero)):
        rates = meter.rates(meter.zero + n, meter.zero + n + 1)
        rows.append({"second": n, **{name: round(rate, 1) for name, rate in
                                     zip(meter.fleet.names, rates, strict=True)}})
    return rows
