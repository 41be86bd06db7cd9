"""
What operations cost beside time: requests on vPipe's ring, events in both directions, and
grants that dom0 maps, unmaps or copies by, for a transfer on a kept connection and on a new
one. Grants are counted by probes in dom0's kernel, which slow it down: nothing is timed here.
"""

from breakeven import WAYS, in_a_row
from measure import Bench, Meter
from sweep import say

SIZES = {4096: 50, 65536: 50, 1 << 20: 20, 64 << 20: 2}
TRACING = "/sys/kernel/tracing"
# Function and the argument that has the number of grants.
PROBES = {"copied": ("gnttab_batch_copy", "%si"), "mapped": ("gnttab_map_refs", "%cx"),
          "unmapped": ("gnttab_unmap_refs", "%cx")}
RETRANSMITS = "awk '/^Tcp:/ && $13 ~ /[0-9]/ {print $13}' /proc/net/snmp"


class Grants:
    """Counts from here to end()."""

    def __init__(self, dom0):
        self.dom0 = dom0
        for name, (function, argument) in PROBES.items():
            dom0.run(f"cd {TRACING} && echo 'p:vpbench/{name} {function} n={argument}:u32'"
                     f" >>kprobe_events && echo hist:keys=n >events/vpbench/{name}/trigger")

    def end(self):
        """Name -> grants, and how many calls they took."""
        found = {}
        for name in PROBES:
            text = self.dom0.run(f"cat {TRACING}/events/vpbench/{name}/hist").out
            rows = [line.replace("{", "").replace("}", "").replace("hitcount:", "").split()
                    for line in text.splitlines() if line.startswith("{ n:")]
            found[name] = sum(int(row[1]) * int(row[-1]) for row in rows)
            found[f"{name}_calls"] = sum(int(row[-1]) for row in rows)
            self.dom0.run(f"cd {TRACING} && echo '!hist:keys=n' >events/vpbench/{name}/trigger &&"
                          f" echo '-:vpbench/{name}' >>kprobe_events")
        return found


def once(bench, way, kind, size, number):
    stage = bench.stage
    retransmits = int(stage.guest.run(RETRANSMITS).out)
    meter, grants = Meter(stage), Grants(stage.dom0)
    in_a_row(bench, WAYS[way][0], size, *((number, 1) if kind == "kept" else (1, number)))
    found = {"grants": grants.end()}
    found |= {key: value for key, value in meter.end().items()
              if key in ("stats", "events_dom0", "events_guest")}
    found["retransmits_guest"] = int(stage.guest.run(RETRANSMITS).out) - retransmits
    return found


def run(stage, rounds, done):
    del rounds      # counts, and no times: once is enough
    stage.restore()
    bench, rows = Bench(stage), []
    stage.set_mtu(9000)
    for size, number in SIZES.items():
        for kind in ("kept", "new"):
            for way in WAYS:
                rows.append({"way": way, "kind": kind, "bytes": size, "number": number,
                             **once(bench, way, kind, size, number)})
                say(f"{number} x {size} bytes, {kind}, {way}: {rows[-1]['grants']}")
        done({"costs": rows})
    return {"costs": rows}
