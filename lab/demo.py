#!/usr/bin/python3
"""
The demo: one file of the guest goes to the peer three times, in the same boot.

    sendfile   sendfile() in the guest
    vpipe      vpipe_file_to_socket() in the guest
    native     sendfile() in dom0, which is the limit

The guest's disk is a RAM disk of dom0, so that the path is measured and not a disk.
All three read the same device: the caches of guest and dom0 are dropped before
each. A time begins with the call and ends when the peer has everything and has
closed. The peer hashes what it got after that. CPU time is Xen's own count,
read when the program has connected and when it has ended. The network has jumbo
frames, so that the emulated peer keeps up: with 1500 bytes (--mtu 1500) a frame costs
it more than it costs dom0, and it is what is measured.
"""

import argparse
import json
import os
import sys
import time

from lab import ADDRESSES, PAYLOAD_MIB, TOP, Lab, LabError

OUT = TOP / "out/demo.json"
PORT = 5000
CHUNK_MIB = 128  # of the file: the part of the payload disk that carries it
CHUNKS = 2
FILE_BYTES = CHUNKS * CHUNK_MIB << 20
FILE = "/mnt/file"
DISKS = {"guest": "/dev/xvdc", "dom0": "/dev/ram0"}  # the same one
WAYS = (("sendfile", "guest", "sendfile"),
        ("vpipe", "guest", "offload"),
        ("native", "dom0", "sendfile"))
BUSY = 0.15  # of the machine: what others may use before the numbers mean little
STARTED = time.monotonic()


class DemoError(Exception):
    """What was to be shown did not happen."""


def say(text):
    print(f"demo: {time.monotonic() - STARTED:5.1f} s  {text}", flush=True)


def attach(lab):
    lab.guest.run("insmod /payload/vpipe-front.ko")
    lab.dom0.run("insmod /payload/vpipe-back.ko")
    said = lab.dom0.run("/payload/vpipectl attach guest").out
    if "attached" not in said or "waiting" in said:
        raise DemoError(f"vpipectl attach: {said}")


def set_mtu(lab, mtu):
    """Of all there is between the guest and the peer."""
    for host, links in ((lab.peer, "eth0"), (lab.dom0, "eth0 vif1.0 xenbr0"), (lab.guest, "eth0")):
        host.run(f"for link in {links}; do ip link set $link mtu {mtu} || exit 1; done")


def write_file(lab):
    """
    Random bytes, which nothing on the way can compress. The guest would need long
    to make so many; so the host does, and the guest copies them from its payload
    disk, a free part of which is a window on the host, past all caches.
    """
    lab.guest.run(f"mkfs.ext4 -q -E lazy_itable_init=0,lazy_journal_init=0 {DISKS['guest']}"
                  f" && mount {DISKS['guest']} /mnt")
    start = PAYLOAD_MIB - CHUNK_MIB
    if lab.payload.mebibytes > start:
        raise DemoError(f"the payload leaves no room for {CHUNK_MIB} MiB")
    for chunk in range(CHUNKS):
        with open(lab.payload.name, "r+b", buffering=0) as window:
            window.seek(start << 20)
            for _ in range(CHUNK_MIB):
                window.write(os.urandom(1 << 20))
        lab.guest.run(f"dd if=/dev/xvdb iflag=direct bs=4M skip={start // 4}"
                      f" count={CHUNK_MIB // 4} >>{FILE} 2>/dev/null", timeout=120)
    lab.guest.run("sync", timeout=120)
    size = int(lab.guest.run(f"stat -c %s {FILE}").out)
    if size != FILE_BYTES:
        raise DemoError(f"the file has {size} bytes")


def move_disk_to_dom0(lab):
    """Where the native way reads the very blocks that the others have read."""
    lab.guest.run("umount /mnt")
    lab.dom0.run(f"mount -t ext4 -o ro,noload {DISKS['dom0']} /mnt")


def forget(lab):
    """No cached data; no cached round-trip times of earlier connections either."""
    for host in (lab.guest, lab.dom0):
        host.run("sync; echo 3 >/proc/sys/vm/drop_caches; ip tcp_metrics flush")
    lab.peer.run("ip tcp_metrics flush")


def foreign_ticks(lab):
    """CPU time of this machine that went to others than the lab."""
    with open("/proc/stat") as stat:
        user, nice, system, _, _, irq, softirq, steal = map(int, stat.readline().split()[1:9])
    ticks = user + nice + system + irq + softirq + steal
    for machine in lab.machines:
        with open(f"/proc/{machine.process.pid}/stat") as stat:
            ticks -= sum(map(int, stat.read().rpartition(")")[2].split()[11:13]))
    return ticks


def cpu_seconds(lab):
    """What dom0 and the guest have used so far."""
    lines = lab.dom0.run("/payload/xencpu").out.splitlines()
    return [int(line.split()[1]) / 1e9 for line in lines]


def transfer(lab, host, path):
    """Run vpipe-send between two readings of the CPU counters."""
    command = f"/payload/vpipe-send --wait --path {path} {FILE} {ADDRESSES['peer']} {PORT}"
    sender = host.spawn(command, stdin=None)
    sender.wait_output("connected")
    before = cpu_seconds(lab)
    sender.write(b"go\n")
    result = sender.wait(240)
    dom0, guest = (y - x for x, y in zip(before, cpu_seconds(lab), strict=True))
    try:
        sent = json.loads(result.out.splitlines()[-1])
    except ValueError:
        sent = {}
    if result.rc or sent.get("bytes") != FILE_BYTES:
        raise DemoError(f"{host.name}: exit status {result.rc}: {command}\n"
                        f"{result.out}{result.err}")
    return {"mb_per_s": round(FILE_BYTES / 1e6 / sent["seconds"], 2),
            "domu_cpu_s": round(guest, 4), "dom0_cpu_s": round(dom0, 4),
            "seconds": sent["seconds"], "offloaded_bytes": sent["offloaded"]}


def transfers(lab):
    results = {}
    started, foreign = time.monotonic(), foreign_ticks(lab)
    sink = lab.peer.spawn(f"/payload/vpipe-sink --buffer {(FILE_BYTES >> 20) + 1}"
                          f" --count {len(WAYS)} {PORT}")
    sink.wait_output("listening", 60)
    for name, host, path in WAYS:
        if host == "dom0":
            move_disk_to_dom0(lab)
        forget(lab)
        way = transfer(lab, getattr(lab, host), path)
        got = json.loads(sink.wait_output(
            r"(?:\{.*\}\n){%d}(\{.*\})\n" % (len(results) + 1), 120)[1])
        if got["overflow"] or got["error"]:
            raise DemoError(f"the peer: {got}")
        results[name] = {"sha256": got["sha256"], **way}
        say(f"{name}: {way['seconds']:.1f} s, {way['mb_per_s']:.1f} MB/s")
    sink.wait(60, check=True)
    ticks = (time.monotonic() - started) * os.sysconf("SC_CLK_TCK") * os.cpu_count()
    share = (foreign_ticks(lab) - foreign) / ticks
    if share > BUSY:
        say(f"note: other programs had {share:.0%} of this machine: the ratios are off")
    return results


def versions(lab):
    return {"xen_version": lab.dom0.run("xl info xen_version").out.strip(),
            "dom0_kernel": lab.dom0.run("uname -r").out.strip(),
            "domu_kernel": lab.guest.run("uname -r").out.strip()}


def ratio(results, key, name, other):
    return results[name][key] / max(results[other][key], 1e-9)


def table(report):
    rows = [("", "MB/s", "domU CPU s", "dom0 CPU s", "SHA-256 at the peer")]
    for name, *_ in WAYS:
        way = report[name]
        same = "same" if way["sha256"] == report["source_sha256"] else "DIFFERENT"
        rows.append((name, f"{way['mb_per_s']:.1f}", f"{way['domu_cpu_s']:.3f}",
                     f"{way['dom0_cpu_s']:.3f}", f"{way['sha256'][:12]}... {same}"))
    lines = ["{:10}{:>8}{:>13}{:>13}   {}".format(*row).rstrip() for row in rows]
    return "\n".join([
        "", f"Xen {report['xen_version']}, dom0 {report['dom0_kernel']}, "
        f"domU {report['domu_kernel']}; emulated: compare, do not quote",
        f"{report['file_bytes']} bytes from ext4 in domU to a remote TCP client, "
        f"MTU {report['mtu']}", "",
        *lines, "",
        f"throughput, vpipe : native      {ratio(report, 'mb_per_s', 'vpipe', 'native'):7.2f}",
        f"throughput, vpipe : sendfile    {ratio(report, 'mb_per_s', 'vpipe', 'sendfile'):7.2f}",
        f"domU CPU, vpipe : sendfile      "
        f"{100 * ratio(report, 'domu_cpu_s', 'vpipe', 'sendfile'):6.1f} %", ""])


def check(report, bad_lines):
    """What is wrong with it; the speed is shown, not judged."""
    for name, *_ in WAYS:
        if report[name]["sha256"] != report["source_sha256"]:
            yield f"{name}: what arrived is not what was sent"
    if report["vpipe"]["offloaded_bytes"] != FILE_BYTES:
        yield "vpipe: not all was moved by dom0"
    yield from bad_lines


def demo(mtu):
    OUT.unlink(missing_ok=True)
    say("starting Xen, dom0, the guest and the peer")
    with Lab() as lab:
        say("attaching vPipe to the guest")
        report = versions(lab)
        set_mtu(lab, mtu)
        attach(lab)
        say(f"writing a file of {FILE_BYTES / 1e6:.0f} MB in the guest")
        write_file(lab)
        say("sending it to the peer three times")
        results = transfers(lab)
        say("hashing the file")
        report["file_bytes"] = FILE_BYTES
        report["mtu"] = mtu
        report["source_sha256"] = lab.dom0.run(f"sha256sum {FILE}", timeout=120).out.split()[0]
        report.update(results)
        bad_lines = lab.check_logs()
        say("done")
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps(report, indent=2) + "\n")
    print(table(report))
    wrong = list(check(report, bad_lines))
    for line in wrong:
        print(f"demo: FAILED: {line}", file=sys.stderr)
    print(f"{os.path.relpath(OUT)} has the numbers")
    return 1 if wrong else 0


def main():
    parser = argparse.ArgumentParser(description="The vPipe demo")
    parser.add_argument("--mtu", type=int, default=9000, help="of the network (9000)")
    try:
        return demo(parser.parse_args().mtu)
    except (DemoError, LabError) as error:
        return f"demo: FAILED: {error}"


if __name__ == "__main__":
    sys.exit(main())
