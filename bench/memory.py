"""
Memory of operations that are open: connections whose peer reads nothing, each with a
transfer that cannot end. What is free in dom0 and in the guest before and meanwhile, with
nothing cached. It has what the program in the guest takes.
"""

import time

from cases import ADDRESSES
from lab import LabError
from measure import DEVICE, Bench
from sweep import say

NUMBERS = (1, 100, 2000)
BYTES = 64 << 20
PATIENCE = 90       # seconds until all are open


def free(host):
    """KiB without a use."""
    return int(host.run("sync; echo 3 >/proc/sys/vm/drop_caches;"
                        "awk '/^MemFree/ {print $2}' /proc/meminfo", timeout=120).out)


def statistic(stage, name):
    return int(stage.dom0.run(f"cat {DEVICE}/statistics/{name}").out)


def until_still(stage, number):
    """All connections are with dom0, and nothing moves any more."""
    end, last = time.monotonic() + PATIENCE, None
    while True:
        now = statistic(stage, "flows"), statistic(stage, "bytes_total")
        if (now[0] >= number and now == last) or time.monotonic() > end:
            return now[0]
        last = now
        time.sleep(1)


def once(bench, number):
    stage, port = bench.stage, bench.next_port()
    sink = stage.peer.spawn(f"exec /payload/vptest hold {port} {number}", stdin=None)
    sink.wait_output("listening", 20)
    before = [free(host) for host in (stage.dom0, stage.guest)]
    began = time.monotonic()
    job = stage.guest.spawn(f"exec /payload/vptest crowd {ADDRESSES['peer']} {port} /mnt/file "
                            f"{number} {BYTES}")
    sink.wait_output("held", PATIENCE)
    job.wait_output("submitted", PATIENCE)
    open_ = until_still(stage, number)
    taken = time.monotonic() - began
    after = [free(host) for host in (stage.dom0, stage.guest)]
    chunks = statistic(stage, "chunks")
    for one in (job, sink):
        one.kill()
        one.wait(60)
    stage.dom0.run(f"until [ $(cat {DEVICE}/statistics/flows) = 0 ]; do usleep 100000; done",
                   timeout=PATIENCE)
    return {"asked": number, "open": open_, "seconds": round(taken, 1), "chunks": chunks,
            **{f"{name}_kib": x - y for name, x, y in
               zip(("dom0", "guest"), before, after, strict=True)}}


def run(stage, rounds, done):
    del rounds      # of pages, and not of times
    rows = []
    for number in NUMBERS:
        stage.restore()
        bench = Bench(stage)
        once(bench, 1)      # what the kernels get once and keep
        rows.append(once(bench, number))
        say(f"{number} open operations: {rows[-1]}")
        if rows[-1]["open"] < number:
            raise LabError(f"{rows[-1]['open']} of {number} operations are open")
        done({"memory": rows})
    return {"memory": rows}
