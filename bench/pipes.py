#!/usr/bin/python3
"""
The pipes other than file to socket, each three times in the same boot, by the example
programs of tools/:

    ordinary   recv, write, send, copy_file_range in the guest
    vpipe      through libvpipe in the guest
    native     as ordinary, but in dom0, which is the limit

As in the demo (lab/demo.py) disks are RAM disks of dom0, caches are dropped before each,
the network has jumbo frames, and CPU time is Xen's count. What goes to a disk is on it
when the time ends (--sync). Emulated: compare, do not quote.
"""

import argparse
import json
import os
import pathlib
import sys

TOP = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(TOP / "lab"))
import demo  # noqa: E402
from lab import ADDRESSES, PAYLOAD_MIB, Lab, LabError  # noqa: E402

OUT = TOP / "out/pipes.json"
STREAM = demo.CHUNK_MIB << 20       # bytes of what comes from a socket
SINK_DISK = {"guest": "/dev/xvdd", "dom0": "/dev/ram2"}
WAYS = (("ordinary", "guest", "ordinary"), ("vpipe", "guest", "offload"),
        ("native", "dom0", "ordinary"))
PORT = 6000


class Bench:
    def __init__(self, lab):
        self.lab, self.port = lab, PORT

    def prepare(self):
        """The source file at /mnt of the guest, the same bytes on the peer, a disk for sinks."""
        lab = self.lab
        demo.write_file(lab)
        skip = (PAYLOAD_MIB - demo.CHUNK_MIB) // 4
        lab.peer.run(f"dd if=/dev/vda bs=4M skip={skip} count={demo.CHUNK_MIB // 4} of=/tmp/stream"
                     " 2>/dev/null", timeout=60)
        lab.dom0.run(f"xl block-attach guest {SINK_DISK['dom0']},raw,xvdd,w", timeout=30)
        lab.guest.run(f"until [ -b {SINK_DISK['guest']} ]; do usleep 20000; done; mkdir -p /fs;"
                      f"mkfs.ext4 -q -E lazy_itable_init=0,lazy_journal_init=0 "
                      f"{SINK_DISK['guest']} && mount {SINK_DISK['guest']} /fs", timeout=60)

    def move_disks_to_dom0(self):
        self.lab.guest.run("umount /mnt /fs")
        self.lab.dom0.run(f"mkdir -p /mnt /fs; mount {demo.DISKS['dom0']} /mnt &&"
                          f" mount {SINK_DISK['dom0']} /fs")

    def measured(self, host, command, begin):
        """Run it with begin() once it listens; its JSON, with the CPU seconds it took."""
        job = host.spawn(f"echo ready; read -r go; exec {command}", stdin=None)
        job.wait_output("ready", 20)
        demo.forget(self.lab)
        before = demo.cpu_seconds(self.lab)
        job.write(b"go\n")
        begin(job)
        result = job.wait(240, check=True)
        dom0, guest = (y - x for x, y in zip(before, demo.cpu_seconds(self.lab), strict=True))
        said = json.loads(result.out.splitlines()[-1])
        return {**said, "mb_per_s": round(said["bytes"] / 1e6 / said["seconds"], 2),
                "domu_cpu_s": round(guest, 4), "dom0_cpu_s": round(dom0, 4)}

    def send_from_peer(self, host):
        def begin(job):
            job.wait_output("listening", 20)
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
        got = self.measured(host, f"/payload/vpipe-cp --sync --json {demo.FILE} {out}",
                            lambda job: None)
        host.run(show)
        return got

    def socket_to_socket(self, host, path, _):
        sink = self.lab.peer.spawn(f"/payload/vpipe-sink --count 1 --buffer {(STREAM >> 20) + 1} {PORT}")
        sink.wait_output("listening", 60)
        begin = self.send_from_peer(host)
        relayed = self.measured(host, f"/payload/vpipe-relay --path {path} {self.port} "
                                      f"{ADDRESSES['peer']} {PORT}", begin)
        got = json.loads(sink.wait(60, check=True).out.splitlines()[-1])
        return {**relayed, "sha256": got["sha256"]}

    def run(self):
        report = {name: {} for name in ("socket_to_file", "file_to_file", "socket_to_socket")}
        for way, where, path in WAYS:
            if where == "dom0":
                self.move_disks_to_dom0()
            for name, results in report.items():
                out = f"/fs/{name}"
                got = getattr(self, name)(getattr(self.lab, where), path, out)
                if "sha256" not in got:
                    got["sha256"] = getattr(self.lab, where).run(
                        f"sha256sum {out}", timeout=120).out.split()[0]
                    getattr(self.lab, where).run(f"rm {out}; sync")
                results[way] = {key: got[key] for key in
                                ("bytes", "offloaded", "mb_per_s", "domu_cpu_s", "dom0_cpu_s",
                                 "sha256")}
                demo.say(f"{name}, {way}: {got['mb_per_s']:.1f} MB/s")
        return report


def table(report):
    lines = ["", "{:18}{:>10}{:>10}{:>10}{:>15}{:>17}{:>12}".format(
        "MB/s", "ordinary", "vpipe", "native", "vpipe:native", "vpipe:ordinary", "domU CPU")]
    for name, ways in report.items():
        rate = [ways[way]["mb_per_s"] for way, *_ in WAYS]
        cpu = ways["vpipe"]["domu_cpu_s"] / max(ways["ordinary"]["domu_cpu_s"], 1e-9)
        lines.append(f"{name:18}{rate[0]:10.1f}{rate[1]:10.1f}{rate[2]:10.1f}"
                     f"{rate[1] / rate[2]:15.2f}{rate[1] / rate[0]:17.2f}{100 * cpu:10.1f} %")
    return "\n".join([*lines, ""])


def main():
    parser = argparse.ArgumentParser(description="The other three pipes, measured")
    parser.add_argument("--mtu", type=int, default=1500, help="of the network (1500)")
    args = parser.parse_args()
    try:
        with Lab() as lab:
            demo.set_mtu(lab, args.mtu)
            demo.attach(lab)
            bench = Bench(lab)
            bench.prepare()
            report = bench.run()
            bad = lab.check_logs()
    except (demo.DemoError, LabError) as error:
        return f"bench: FAILED: {error}"
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps({"mtu": args.mtu, **report}, indent=2) + "\n")
    print(table(report))
    for name, ways in report.items():
        if len({way["sha256"] for way in ways.values()}) != 1:
            bad.append(f"{name}: not the same bytes")
        if ways["vpipe"]["offloaded"] < ways["vpipe"]["bytes"] - 4096:
            bad.append(f"{name}: not all was moved by dom0")
    for line in bad:
        print(f"bench: FAILED: {line}", file=sys.stderr)
    print(f"{os.path.relpath(OUT)} has the numbers")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
