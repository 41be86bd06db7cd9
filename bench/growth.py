"""
How the cost of a transfer grows with connections, with extents of the file, with its size,
and with guests that send at once: CPU seconds of dom0 and domU for each GB, requests on the
ring, from file to socket.
"""

import json

from cases import ADDRESSES, sink_command
from lab import LabError
from measure import Bench, Meter
from sweep import say

MIB = 1 << 20
SIZES = (1, 16, 256)            # MiB of one transfer
CONNECTIONS = (1, 8, 64)        # at the same time, which share
SHARED = 256                    # MiB
VMS = (1, 2, 3)                 # at the same time, each of which sends
OF_EACH = 256                   # MiB
BLOCKS = (1, 2048)              # extents of a file of
FILE_MIB, REPEAT = 8, 8         # MiB, so often
PROGRAM = "ulimit -n 65536; exec /payload/vptest run --trust 1"


def measured(bench, command, connections, number, vms=1):
    """Run it in so many guests; CPU time of `number` bytes in all, which dom0 must have moved."""
    stage, port = bench.stage, bench.next_port()
    bench.forget()
    sink = stage.peer.spawn(f"{sink_command(port, connections)} --workers {connections}")
    sink.wait_output("listening", 60)
    meter = Meter(stage, range(1, 1 + vms))
    jobs = [guest.spawn(command.format(peer=ADDRESSES["peer"], port=port))
            for guest in stage.attached[:vms]]
    out = "".join(job.wait(300, check=True).out for job in jobs)
    got = meter.end()
    sink.wait(60, check=True)
    offloaded = sum(json.loads(line)["offloaded"] for line in out.splitlines())
    if offloaded != number:
        raise LabError(f"not all was moved by dom0: {command}\n{out}")
    per = 1e9 / number
    return {"dom0_cpu_s_per_gb": got["dom0_cpu_s"] * per,
            "domu_cpu_s_per_gb": got["domu_cpu_s"] * per,
            "requests_per_gb": got["stats"].get("requests_total", 0) * per}


def wanted():
    """(what, how many, command, connections, bytes[, guests])"""
    send = "/payload/vpipe-send --path offload"
    for size in SIZES:
        repeat = max(SIZES) // size
        yield ("MiB in each transfer", size, f"{send} --length {size * MIB} --repeat {repeat} "
               "/mnt/file {peer} {port}", 1, size * repeat * MIB)
    for number in CONNECTIONS:
        yield ("connections", number, f"{PROGRAM} --connections {number} {{peer}} {{port}} "
               f"/mnt/file pipe:0:{SHARED * MIB // number}", number, SHARED * MIB)
    for number in BLOCKS:
        yield ("extents", number, f"{send} --repeat {REPEAT} /fs/extents-{number} "
               "{peer} {port}", 1, FILE_MIB * REPEAT * MIB)
    for number in VMS:
        yield ("VMs at once", number, f"{send} --length {OF_EACH * MIB} /mnt/file "
               "{peer} {port}", number, number * OF_EACH * MIB, number)


def prepare(stage):
    """Two files of the same length, of one extent and of one for each block; more guests."""
    one, many = BLOCKS
    stage.guest.run(f"/payload/vptest fill /fs/extents-{one} 0 {FILE_MIB * MIB} &&"
                    f"/payload/vptest interleave /fs/extents-{many} /fs/other {many}; sync",
                    timeout=300)
    stage.attach_burners(max(VMS) - 1)


def run(stage, rounds, done):
    found = {}
    for _ in range(rounds):
        stage.restore()
        prepare(stage)
        stage.set_mtu(9000)
        bench = Bench(stage)
        for what, many, *how in wanted():
            got = measured(bench, *how)
            found.setdefault((what, many), []).append(got)
            say(f"{what}: {many}: {got}")
        done(report(found))
    return report(found)


def report(found):
    return {"growth": [{"what": what, "number": number, "runs": runs}
                       for (what, number), runs in found.items()]}
