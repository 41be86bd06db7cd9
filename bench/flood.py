"""
What does a guest take from two others that floods its ring?

The two always have something to send, and all three have the same weight: so the third may
take a third. It does so by transfers of one byte, as any program can ask for them, and then
by commands of its own making (tests/forge), as fast as they are answered. Throughputs are
compared with those beside a guest that just burns its CPU: in the lab that alone slows down
the emulated client.
"""

import errno
import json

from fleet import FILE
from lab import ADDRESSES
from shares import OFF, SETTLE, check, phase, seconds, set_weights, started, stretch

LENGTH = 6      # seconds of each flood that count
TIME = LENGTH + SETTLE + 3
# Kind, and what each of its commands is answered.
FORGED = {"unknown": -errno.EOPNOTSUPP, "release": -errno.ENOENT, "disk": -errno.ENODEV,
          "extents": -errno.EINVAL, "open": 0, "attach": 0, "byte": 0}


class Flooder:
    """The last guest of the fleet, which is of no other use after forge()."""

    def __init__(self, fleet):
        self.fleet, self.number = fleet, len(fleet.guests) - 1
        self.guest, self.name = fleet.guests[-1], fleet.names[-1]

    def idle(self):
        return lambda: None

    def spin(self):
        job = self.guest.spawn(f"exec timeout {TIME} sh -c 'while :; do :; done'")

        def end():
            job.wait(timeout=60)
        return end

    def byte(self):
        port = self.fleet.sink(8)
        self.guest.spawn(f"exec /payload/vptest run --trust 1 --connections 8 --repeat 1000000000"
                         f" {ADDRESSES['peer']} {port} {FILE} pipe:0:1", stdin=None)
        self.fleet.moving(self.number)
        return lambda: self.fleet.stop(self.number)

    def forge(self):
        """Instead of the driver the one that forges."""
        self.fleet.dom0.run(f"/payload/vpipectl detach {self.name}", timeout=60)
        self.guest.run("rmmod vpipe-front && insmod /payload/vpipe-forge.ko")
        self.fleet.dom0.run(f"/payload/vpipectl attach {self.name}", timeout=60)
        self.disk = self.guest.run("basename $(readlink -f /sys/block/xvdd/device)"
                                   ).out.strip().split("-")[-1]

    def forged(self, kind):
        job = self.guest.spawn(f"exec /payload/vptest flood {kind} {TIME} "
                               f"{self.guest.via} {ADDRESSES['peer']} {self.disk}", stdin=None)

        def end():
            said = json.loads(job.wait(timeout=60, check=True).out)
            assert said["answered"] > 0 and said["first"] == FORGED[kind], (kind, said)
            return said
        return end


def one(meter, flooder, begin):
    """A phase of the two others beside it, and what the flood costs and gets."""
    fleet, third = meter.fleet, flooder.number
    end = begin()
    before = [fleet.stat(third, "requests_total"), *fleet.seconds(third)]
    start, stop = stretch(meter, LENGTH)
    after = [fleet.stat(third, "requests_total"), *fleet.seconds(third)]
    said = end()
    spent = [(y - x) / (stop - start) for x, y in zip(before, after, strict=True)]
    return start, stop, {"requests_per_s": round(spent[0]), "ring_cpu": round(spent[1], 3),
                         "data_cpu": round(spent[2], 3), "said": said}


def flood(fleet):
    flooder = Flooder(fleet)
    names = fleet.names[:2]
    weights = dict.fromkeys(names, 1)
    set_weights(fleet, weights)
    port = fleet.sink(4)
    meter = started(fleet)
    for guest in 0, 1:
        fleet.busy(guest, port)
    fleet.moving(0, 1)
    parts = [("idle", one(meter, flooder, flooder.idle)),
             ("spin", one(meter, flooder, flooder.spin)),
             ("byte", one(meter, flooder, flooder.byte))]
    flooder.forge()
    parts += [(f"forged {kind}", one(meter, flooder, lambda kind=kind: flooder.forged(kind)))
              for kind in FORGED]
    parts.append(("spin", one(meter, flooder, flooder.spin)))
    last = meter.now()
    meter.end()
    fleet.stop(0, 1)

    phases = [{"name": name, **phase(meter, names, weights, start, stop), **cost}
              for name, (start, stop, cost) in parts]
    spins = [part["mb_per_s"] for part in phases if part["name"] == "spin"]
    base, checks = sum(spins) / len(spins), []
    for part in phases:
        part["left"] = round(part["mb_per_s"] / base, 3)
        if part["name"] not in ("idle", "spin"):
            checks += [check(f"{part['name']}: what two of three keep", part["left"],
                             least=round(2 / 3 * (1 - OFF), 3)),
                       check(f"{part['name']}: off its share, of the share", part["deviation"],
                             most=OFF)]
    return {"weights": {**weights, flooder.name: 1}, "phases": phases, "checks": checks,
            "seconds": seconds(meter, last)}
