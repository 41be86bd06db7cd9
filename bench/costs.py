"""
What operations cost beside time: requests on vPipe's ring, events in both directions, grants
that dom0 maps, unmaps or copies by, and how often the guest's vCPU wakes up, for a transfer on
a kept connection and on a new one. Grants are counted by probes in dom0's kernel, wake-ups by
the guest's own tracepoint, which slows them down: nothing is timed here.
"""

from breakeven import WAYS, in_a_row
from measure import Bench, Meter
from sweep import say

SIZES = {4096: 50, 65536: 50, 1 << 20: 20, 64 << 20: 2}
TRACING = "/sys/kernel/tracing"
# Function and the argument that has the number of grants.
PROBES = {"copied": ("gnttab_batch_copy", "%si"), "mapped": ("gnttab_map_refs", "%cx"),
          "unmapped": ("gnttab_unmap_refs", "%cx")}
IDLE = f"{TRACING}/events/power/cpu_idle"
LEFT = 2 ** 32 - 1      # the state of who leaves idle
BEFORE, AFTER = "/tmp/idle-before", "/tmp/idle-after"
# Around the program, by the guest's own shell: no command of ours wakes it in between.
COUNTED = f"cat {IDLE}/hist >{BEFORE} && {{}} && cat {IDLE}/hist >{AFTER}"
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


def left_idle(hist):
    """How often, in the text of a histogram of cpu_idle's states."""
    return sum(int(line.rpartition(":")[2]) for line in hist.splitlines()
               if line.startswith("{") and int(line.split()[2]) == LEFT)


def wakeups(guest):
    """Of its vCPU, while the last COUNTED ran."""
    before, after = (left_idle(guest.run(f"cat {file}").out) for file in (BEFORE, AFTER))
    return after - before


def once(bench, way, kind, size, number):
    stage = bench.stage
    retransmits = int(stage.guest.run(RETRANSMITS).out)
    meter, grants = Meter(stage), Grants(stage.dom0)
    in_a_row(bench, WAYS[way][0], size, *((number, 1) if kind == "kept" else (1, number)),
             around=COUNTED)
    found = {"grants": grants.end(), "wakeups_guest": wakeups(stage.guest)}
    found |= {key: value for key, value in meter.end().items()
              if key in ("stats", "events_dom0", "events_guest")}
    found["retransmits_guest"] = int(stage.guest.run(RETRANSMITS).out) - retransmits
    return found


def run(stage, rounds, done):
    del rounds      # counts, and no times: once is enough
    stage.restore()
    bench, rows = Bench(stage), []
    stage.set_mtu(9000)
    stage.guest.run(f"echo hist:keys=state >{IDLE}/trigger")
    for size, number in SIZES.items():
        for kind in ("kept", "new"):
            for way in WAYS:
                rows.append({"way": way, "kind": kind, "bytes": size, "number": number,
                             **once(bench, way, kind, size, number)})
                say(f"{number} x {size} bytes, {kind}, {way}: {rows[-1]['grants']}, "
                    f"{rows[-1]['wakeups_guest']} wake-ups")
        done({"costs": rows})
    return {"costs": rows}
