#!/usr/bin/python3
"""
The pipes other than file to socket, each in three ways in the same boot, one after the
other and again (--rounds), by the example programs of tools/; medians are shown:

    ordinary   recv, write, send, copy_file_range in the guest
    vpipe      through libvpipe in the guest
    native     as ordinary, but in dom0, which is the limit

As in the demo (lab/demo.py) disks are RAM disks of dom0, caches are dropped before each,
and CPU time is Xen's count. What goes to a disk is on it when the time ends (--sync). The
network has ordinary frames: the emulated NIC of dom0 receives no jumbo frames. Emulated:
compare, do not quote.
"""

import argparse
import json
import os
import pathlib
import statistics
import sys

TOP = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(TOP / "lab"))
import demo  # noqa: E402
from lab import ADDRESSES, PAYLOAD_MIB, Lab, LabError  # noqa: E402

OUT = TOP / "out/pipes.json"
CHUNKS = 4
STREAM = demo.CHUNK_MIB * CHUNKS << 20      # bytes that are moved
FILE = "/mnt/stream"
KINDS = ("socket_to_file", "file_to_file", "socket_to_socket")
SINK_DISK = {"guest": "/dev/xvdd", "dom0": "/dev/ram2"}
WAYS = (("ordinary", "guest", "ordinary"), ("vpipe", "guest", "offload"),
        ("native", "dom0", "ordinary"))
PORT = 6000


class Bench:
    def __init__(self, lab):
        self.lab, self.port = lab, PORT

    def prepare(self):
        """The same bytes in a file at /mnt of the guest and on the peer; a disk for sinks."""
        lab = self.lab
        demo.write_file(lab)
        lab.guest.run(f"for i in 1 2; do cat {demo.FILE}; done >{FILE}; sync", timeout=60)
        skip = (PAYLOAD_MIB - demo.CHUNK_MIB) // 4
        lab.peer.run(f"for i in $(seq {CHUNKS}); do dd if=/dev/vda bs=4M skip={skip}"
                     f" count={demo.CHUNK_MIB // 4} 2>/dev/null; done >/tmp/stream", timeout=60)
        lab.dom0.run(f"xl block-attach guest {SINK_DISK['dom0']},raw,xvdd,w", timeout=30)
        lab.guest.run(f"until [ -b {SINK_DISK['guest']} ]; do usleep 20000; done; mkdir -p /fs;"
                      f"mkfs.ext4 -q -E lazy_itable_init=0,lazy_journal_init=0 "
                      f"{SINK_DISK['guest']} && mount {SINK_DISK['guest']} /fs", timeout=60)

    def move_disks(self, name, other):
        """Only one of them has the filesystems."""
        getattr(self.lab, other).run("umount /mnt /fs")
        getattr(self.lab, name).run(f"mkdir -p /mnt /fs; mount {demo.DISKS[name]} /mnt &&"
                                    f" mount {SINK_DISK[name]} /fs")

    def measured(self, host, command, begin=None):
        """
        Run it; its JSON, with the CPU seconds it took: all, or, of a server, from when it
        listens on and begin() is called.
        """
        job = host.spawn(f"echo ready; read -r go; exec {command}", stdin=None)
        job.wait_output("ready", 20)
        demo.forget(self.lab)
        if begin:
            job.write(b"go\n")
            job.wait_output("listening", 20)
        before = demo.cpu_seconds(self.lab)
        if begin:
            begin()
        else:
            job.write(b"go\n")
        result = job.wait(240, check=True)
        dom0, guest = (y - x for x, y in zip(before, demo.cpu_seconds(self.lab), strict=True))
        said = json.loads(result.out.splitlines()[-1])
        return {**said, "mb_per_s": round(said["bytes"] / 1e6 / said["seconds"], 2),
                "domu_cpu_s": round(guest, 4), "dom0_cpu_s": round(dom0, 4)}

    def send_from_peer(self, host):
        def begin():
            self.lab.peer.run(f"/payload/vpipe-send --path sendfile /tmp/stream "
                              f"{ADDRESSES[host.name]} {self.port}", timeout=240)
        self.port += 1
        return begin

    def socket_to_file(self, host, path, out):
        begin = self.send_from_peer(host)
        return self.measured(host, f"/payload/vpipe-recv --sync --path {path} {self.port} {out}",
                             begin)

    def file_to_file(self, host, path, out):
        # cp has no say in it: without the device libvpipe makes ordinary calls.
        hide, show = (("", "") if path == "offload" or host.name == "dom0" else
                      ("mv /dev/vpipe /dev/hidden", "mv /dev/hidden /dev/vpipe"))
        host.run(hide)
        got = self.measured(host, f"/payload/vpipe-cp --sync --json {FILE} {out}")
        host.run(show)
        return got

    def socket_to_socket(self, host, path, _):
        sink = self.lab.peer.spawn("/payload/vpipe-sink --count 1 "
                                   f"--buffer {(STREAM >> 20) + 1} {PORT}")
        sink.wait_output("listening", 60)
        begin = self.send_from_peer(host)
        relayed = self.measured(host, f"/payload/vpipe-relay --path {path} {self.port} "
                                      f"{ADDRESSES['peer']} {PORT}", begin)
        got = json.loads(sink.wait(60, check=True).out.splitlines()[-1])
        return {**relayed, "sha256": got["sha256"]}

    def once(self, kind, way, where, path):
        host, out = getattr(self.lab, where), f"/fs/{kind}"
        got = getattr(self, kind)(host, path, out)
        if "sha256" not in got:
            got["sha256"] = host.run(f"sha256sum {out}", timeout=120).out.split()[0]
            host.run(f"rm {out}; sync")
        demo.say(f"{kind}, {way}: {got['mb_per_s']:.1f} MB/s")
        return {key: got[key] for key in ("bytes", "offloaded", "mb_per_s", "domu_cpu_s",
                                          "dom0_cpu_s", "sha256")}

    def round(self, report):
        for way, where, path in WAYS:
            if where == "dom0":
                self.move_disks("dom0", "guest")
            for kind, results in report.items():
                results[way].append(self.once(kind, way, where, path))
        self.move_disks("guest", "dom0")


def median(report, kind, way, key):
    return statistics.median(got[key] for got in report[kind][way])


def table(report):
    lines = ["", "{:18}{:>10}{:>10}{:>10}{:>15}{:>17}{:>12}".format(
        "MB/s", "ordinary", "vpipe", "native", "vpipe:native", "vpipe:ordinary", "domU CPU")]
    for kind in report:
        rate = [median(report, kind, way, "mb_per_s") for way, *_ in WAYS]
        cpu = (median(report, kind, "vpipe", "domu_cpu_s") /
               max(median(report, kind, "ordinary", "domu_cpu_s"), 1e-9))
        lines.append(f"{kind:18}{rate[0]:10.1f}{rate[1]:10.1f}{rate[2]:10.1f}"
                     f"{rate[1] / rate[2]:15.2f}{rate[1] / rate[0]:17.2f}{100 * cpu:10.1f} %")
    return "\n".join([*lines, ""])


def wrong(report):
    for kind, ways in report.items():
        if len({got["sha256"] for way in ways.values() for got in way}) != 1:
            yield f"{kind}: not the same bytes"
        if any(got["offloaded"] < got["bytes"] - 4096 for got in ways["vpipe"]):
            yield f"{kind}: not all was moved by dom0"


def main():
    parser = argparse.ArgumentParser(description="The other three pipes, measured")
    parser.add_argument("--mtu", type=int, default=1500, help="of the network (1500)")
    parser.add_argument("--rounds", type=int, default=3, help="how often (3)")
    parser.add_argument("pipe", nargs="*", help=f"which of {', '.join(KINDS)} (all)")
    args = parser.parse_args()
    if unknown := set(args.pipe) - set(KINDS):
        parser.error(f"no pipe {unknown.pop()}")
    report = {kind: {way: [] for way, *_ in WAYS} for kind in args.pipe or KINDS}
    try:
        with Lab() as lab:
            demo.set_mtu(lab, args.mtu)
            demo.attach(lab)
            bench = Bench(lab)
            bench.prepare()
            for _ in range(args.rounds):
                bench.round(report)
            bad = lab.check_logs()
    except (demo.DemoError, LabError) as error:
        return f"bench: FAILED: {error}"
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps({"mtu": args.mtu, **report}, indent=2) + "\n")
    print(table(report))
    bad += wrong(report)
    for line in bad:
        print(f"bench: FAILED: {line}", file=sys.stderr)
    print(f"{os.path.relpath(OUT)} has the numbers")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
