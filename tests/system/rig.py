"""
The rig: the lab with both modules loaded, the guest attached, ext4 on its fast disk at
/mnt, and a second fast disk (SPARE) for whatever a test makes of it. What tests do in
it is run by vptest (tests/programs) and vpipe-sink.
"""

import json
import os
import pathlib
import re
import subprocess
import time

BIN = pathlib.Path(__file__).resolve().parents[2] / "build/bin"
PEER, PEER6 = "198.18.0.10", "2001:db8::10"
GUEST, GUEST6 = "198.18.0.2", "2001:db8::2"
DISK, SPARE = "/dev/xvdc", "/dev/xvdd"


class Rig:
    """Attached and ready."""

    symbols = ""

    def __init__(self, lab):
        self.lab = lab
        self.dom0, self.guest, self.peer = lab.dom0, lab.guest, lab.peer
        self.port = 5000
        self.address = PEER     # by which the guest finds the peer
        self.prepare_dom0()
        self.prepare_guest()
        self.attach()
        # The kernel frees a namespace when the next one goes: let one be the last.
        self.detach()
        self.attach()
        self.baseline = self.quiet_counts()

    def prepare_dom0(self):
        self.dom0.run("modprobe nf_tables; insmod /payload/vpipe-back.ko;"
                      "echo N >/sys/module/xen_blkback/parameters/feature_persistent")

    def prepare_guest(self):
        self.load(self.guest)
        # Disks whose grants end with each request: what stays granted can be counted.
        self.dom0.run("for disk in xvdb xvdc; do xl block-detach guest $disk || exit 1; done;"
                      "xl block-attach guest /dev/ram0,raw,xvdc,w &&"
                      "xl block-attach guest /dev/ram2,raw,xvdd,w", timeout=60)
        self.make_disk(self.guest)

    def load(self, guest, module="vpipe-front"):
        guest.run(f"[ -e /payload/{module}.ko ] || payload guest {self.lab.payload.mebibytes};"
                  f"insmod /payload/{module}.ko")

    def make_disk(self, guest):
        self.filled = set()
        guest.run(f"mkfs.ext4 -q -F -E lazy_itable_init=0,lazy_journal_init=0 {DISK} &&"
                  f" mkdir -p /mnt && mount {DISK} /mnt && sync")

    def attach(self, name="guest"):
        self.dom0.run(f"/payload/vpipectl attach {name}", timeout=30)

    def detach(self, name="guest"):
        self.dom0.run(f"/payload/vpipectl detach {name}", timeout=60)

    def wait_connected(self, name="guest"):
        """After an attach that came before the guest's module."""
        self.dom0.run(f"node=/local/domain/$(xl domid {name})/device/vpipe/0/state;"
                      "until [ $(xenstore-read $node) = 4 ]; do usleep 50000; done", timeout=20)

    # Guests

    def bury(self):
        """After the guest was destroyed: nothing of it is left in dom0."""
        self.dom0.run("until ! ls /sys/bus/xen-backend/devices | grep -q vpipe-;"
                      " do usleep 50000; done", timeout=20)
        self.dom0.run("until [ $(xl list | wc -l) = 2 ]; do usleep 50000; done", timeout=20)
        self.dom0.run("! grep -l ^vpback/ /proc/*/comm")
        self.dom0.run("for domid in $(xenstore-list /local/domain/0/backend/vpipe);"
                      " do /payload/vpipectl detach $domid; done", check=False)
        assert self.dom0.run("xenstore-ls /local/domain/0/backend/vpipe", check=False).out == ""
        self.dom0.run("rmmod vpipe_back && insmod /payload/vpipe-back.ko")

    def replace_guest(self):
        """A new one, after that."""
        self.lab.guest = self.guest = self.lab.create_guest()
        self.prepare_guest()
        self.attach()

    # Files

    def fill(self, name, length, offset=0, pieces="", sync=True):
        """Pattern into /mnt/NAME (or a path); nothing stays cached unless sync is False."""
        path = os.path.join("/mnt", name)
        self.guest.run(f"/payload/vptest fill {path} {offset} {length} {pieces}", timeout=300)
        if sync:
            self.guest.run("sync; echo 3 >/proc/sys/vm/drop_caches", timeout=120)
        return path

    def read_only(self, length):
        """Pattern that no test changes: written once."""
        name = f"read-only-{length}"
        if name not in self.filled:
            self.fill(name, length)
            self.filled.add(name)
        self.guest.run("echo 3 >/proc/sys/vm/drop_caches")
        return os.path.join("/mnt", name)

    @staticmethod
    def pattern_hash(length):
        """SHA-256 of so much of the pattern; the emulated guest is slow at hashing."""
        return lines(subprocess.run([BIN / "vptest", "hash", str(length)], check=True, text=True,
                                    stdout=subprocess.PIPE).stdout)[0]["sha256"]

    # Transfers

    def next_port(self):
        self.port += 1
        return self.port

    def client(self, what, after=0, talk=0):
        """An unusual client on the peer; what it says comes with wait_output."""
        port = self.next_port()
        job = self.peer.spawn(f"/payload/vptest client {port} {what} {after} {talk}", stdin=None)
        job.wait_output('"listening"', timeout=20)
        return job, port

    def sink(self, connections=1):
        port = self.next_port()
        job = self.peer.spawn("/payload/vpipe-sink --buffer 8 "
                              f"--workers {connections} --count {connections} {port}")
        job.wait_output('"listening"', timeout=20)
        return job, port

    def run(self, file, steps, port, connections=1, repeat=1, timeout=120):
        """The script of vptest run, in the guest: a result for each connection."""
        out = self.guest.run(f"/payload/vptest run --connections {connections} --repeat {repeat} "
                             f"{self.address} {port} {file} {steps}", timeout=timeout).out
        return lines(out)

    def send(self, file, steps, connections=1, repeat=1, timeout=120, offloaded=True):
        """Run a script against a plain client and compare each stream's content."""
        sink, port = self.sink(connections)
        sent = self.run(file, steps, port, connections, repeat, timeout)
        got = {line["peer"].rsplit(":", 1)[1]: line
               for line in lines(sink.wait(timeout=timeout, check=True).out) if "peer" in line}
        assert len(sent) == len(got) == connections
        for one in sent:
            other = got[str(one["port"])]
            assert one["errors"] == 0, one
            assert (one["bytes"], one["sha256"]) == (other["bytes"], other["sha256"]), (one, other)
            if offloaded:
                assert one["copied"] == 0, f"not all was offloaded: {one}"
        return sent

    # What must be as before

    def grant_symbols(self):
        """Where the kernel counts grants: slow to read, and the same in each guest."""
        if not Rig.symbols:
            Rig.symbols = self.guest.run(
                "grep -F -e nr_grant_frames -e gnttab_free_count /proc/kallsyms"
                " | grep -E ' (nr_grant_frames|gnttab_free_count)$'"
                " | sort -rk 3 | cut -d ' ' -f 1 | xargs").out.strip()
        return Rig.symbols

    def counts(self):
        """What an operation holds, on both sides."""
        # One after the other: a command in the guest is a connection of dom0.
        *xen, counts = self.dom0.run("/payload/vpcount").out.splitlines()
        self.lab.keep_xen_log(xen)
        guest = self.guest.run(
            "cat /sys/module/vpipe_front/refcnt || echo -;"
            "awk '/^TCP:/ {print $9}' /proc/net/sockstat;"
            f"/payload/vptest grants {self.grant_symbols()}").out.split()
        return {**json.loads(counts),
                # How many pages domains have mapped of one another.
                "mapped": sum(bool(re.match(r"\(XEN\)\s*(\[[^]]*\]\s*)?\[0x", line))
                              for line in xen),
                **dict(zip(("front_refs", "guest_sockets", "grants"), guest, strict=True))}

    def quiet_counts(self, timeout=30):
        """The counts when no request to a disk is under way that would be among them."""
        end, last = time.monotonic() + timeout, None
        while (now := self.counts()) != last:
            assert time.monotonic() < end, f"never quiet: {now}"
            last = now
        return now

    def no_flows(self):
        """Wait until dom0 has no connection any more."""
        self.dom0.run("until [ $(cat /sys/bus/xen-backend/devices/vpipe-*/statistics/flows) = 0 ];"
                      " do usleep 20000; done", timeout=20)

    def settle(self, timeout=30):
        """Wait until everything is as before any transfer."""
        end = time.monotonic() + timeout
        while (now := self.counts()) != self.baseline:
            assert time.monotonic() < end, f"left behind: {now}, before: {self.baseline}"

    def free_memory(self):
        """KiB without a use, of dom0 and the guest, when nothing is cached."""
        return [int(host.run("sync; echo 3 >/proc/sys/vm/drop_caches;"
                             "awk '/^MemFree/ {print $2}' /proc/meminfo", timeout=60).out)
                for host in (self.dom0, self.guest)]


def lines(text):
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]
