#!/usr/bin/python3
"""
The lab: real Xen with dom0 and guest on one emulated machine, a plain Linux
host on a second one, and a wire between them.

   this process: Lab
      │ virtio-serial (labd)                     │ virtio-serial (labd)
 ┌────┼─ QEMU "main" ──────────────────────────┐ │
 │ Xen│    pCPU 0          pCPU 1              │ │
 │ ┌──┴─── dom0 ─────┐  ┌── guest ───────────┐ │ │
 │ │ .1   xenbr0     │  │ .2 (guest2: .3)    │ │ │
 │ │    ┌───┴──┐     │  │                    │ │ │  ┌── QEMU "peer" ──┐
 │ │  eth0   vif1.0 ═╪══╪═ eth0   labd (TCP) │ │ │  │  labd           │
 │ │    │            │  │                    │ │ └──┼──┘              │
 │ │ ram0 (brd) ═════╪══╪═ xvdc   data       │ │    │  .10            │
 │ │ vda ════════════╪══╪═ xvdb   payload    │ │    │  eth0   vda     │
 │ └────┼────────────┘  └────────────────────┘ │    └──┼──────────────┘
 └──────┼──────────────────────────────────────┘       │
        └──────────── wire: 198.18.0.0/24 ─────────────┘

    with Lab() as lab:                  # a warm snapshot, made when missing
        lab.dom0.run("xl list").out
        p = lab.peer.spawn("nc -l -p 5000 >/dev/null")
        lab.guest.run("head -c 1M /dev/zero | nc 198.18.0.10 5000")
        p.wait(timeout=10)
        assert lab.check_logs() == []

build/payload/{all,dom0,guest,peer}/ is unpacked to /payload of each side.
"""

import argparse
import contextlib
import fcntl
import hashlib
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time

from agent import Host, LabError, LabTimeout
from machine import Machine

TOP = pathlib.Path(__file__).resolve().parent.parent
IMAGES = TOP / "build/images"
SNAPSHOTS = TOP / "build/lab"
SNAPSHOTS_KEPT = 3
PAYLOAD_SIZE = 256 << 20

# Nothing that only slows an emulated machine down; a crash ends the run.
KERNEL = ("oops=panic panic=-1 net.ifnames=0 mitigations=off rodata=off cryptomgr.notests "
          "audit=0 lsm= raid=noautodetect random.trust_cpu=on log_buf_len=4M")
DOM0 = f"console=hvc0 loglevel=5 tsc=reliable clocksource=xen no_timer_check {KERNEL}"
GUEST = f"console=hvc0 loglevel=8 {KERNEL}"
PEER = f"console=ttyS0 loglevel=5 tsc=reliable no_timer_check {KERNEL}"
XEN = ("console=com1 com1=115200,8n1 console_timestamps=boot conring_size=1M "
       "watchdog=0 bootscrub=0 spec-ctrl=no xpti=off")

BAD = re.compile(r"BUG\b|WARNING|Oops|INFO: (possible|task|suspicious)|rcu:.*(stall|self-detected)"
                 r"|self-detected stall|soft lockup|KFENCE|KASAN|UBSAN|general protection"
                 r"|blocked for more than|Call Trace|Kernel panic|unable to handle"
                 r"|refcount_t|list_(add|del) corruption|bad page state|scheduling while atomic",
                 re.IGNORECASE)


class Lab:
    """
    dom0_vcpus, guest_vcpus: dom0 lives on the first CPUs, guests on the last;
    cpus, memory: of the whole machine (MiB); boot: cold, without a snapshot.
    """

    def __init__(self, dom0_vcpus=1, guest_vcpus=1, cpus=2, memory=5120, dom0_memory=3072,
                 guest_memory=512, timeout=1800, boot=False):
        self.dom0_vcpus, self.guest_vcpus, self.cpus = dom0_vcpus, guest_vcpus, cpus
        self.memory, self.dom0_memory, self.guest_memory = memory, dom0_memory, guest_memory
        self.out = TOP / "out/lab"
        self.machines, self.payload, self.seen = [], None, {}
        self.lock = _lock()
        try:
            (self.boot if boot else self.restore)()
        except BaseException:
            self.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    # Life

    def restore(self):
        """Start over from the warm snapshot; /payload is as of now."""
        snapshot = SNAPSHOTS / self._key()
        if not snapshot.exists():
            self._make_snapshot(snapshot)
        os.utime(snapshot)
        self._start(snapshot, "restore")
        for machine in self.machines:
            machine.loaded()
        for machine in self.machines:
            machine.start()
        self._unpack()
        self.check_logs()

    def boot(self):
        """Start over cold."""
        self._start()
        self._bring_up()
        self._unpack()
        self.check_logs()

    def alive(self):
        return bool(self.machines) and all(m.alive() for m in self.machines)

    def stop(self):
        for machine in self.machines:
            machine.kill()
        self.machines = []
        if self.payload:
            self.payload.close()
            self.payload = None

    def close(self):
        self.stop()
        self.lock.close()

    # Guests

    def create_guest(self, name="guest", address=None, vcpus=None, memory=None, data="/dev/ram0",
                     extra="", wait=True):
        """Create a domain and wait for its labd; returns its Host."""
        number = {"guest": 2, "guest2": 3, "guest3": 4}.get(name)
        address = address or f"198.18.0.{number}"
        vcpus = vcpus or self.guest_vcpus
        self.dom0.write_file(f"/etc/xen/{name}.cfg", f'''
name = "{name}"
type = "pv"
kernel = "/root/vmlinux"
ramdisk = "/root/guest.cpio"
cmdline = "{GUEST} lab_ip={address}"
vcpus = {vcpus}
cpus = "{self.cpus - vcpus}-{self.cpus - 1}"
memory = {memory or self.guest_memory}
vif = ["mac=00:16:3e:00:00:{int(address.rsplit('.', 1)[1]):02x},bridge=xenbr0,ip={address}"]
disk = ["/dev/vda,raw,xvdb,r", "{data},raw,xvdc,w"]
on_poweroff = on_reboot = on_crash = "destroy"
'''.replace('on_poweroff = on_reboot = on_crash = "destroy"',
            'on_poweroff = "destroy"\non_reboot = "destroy"\non_crash = "destroy"') + extra)
        self.dom0.run(f"xl create /etc/xen/{name}.cfg")
        host = Host(name, self.dom0.agent, via=address)
        if wait:
            self.dom0.run(f"until labrun {address} true 2>/dev/null; do xl domid {name} >/dev/null"
                          " || exit 1; usleep 100000; done", timeout=90)
        return host

    def destroy_guest(self, name="guest"):
        self.dom0.run(f"xl destroy {name}")

    # Logs

    def check_logs(self):
        """Bad lines of all logs since the last call (or the start)."""
        bad = []
        for host, source, command in self._logs():
            skip = self.seen.get(source, 0)
            text = host.run(f"{{ {command}; }} | tail -n +{skip + 1}").out
            lines = text.splitlines()
            self.seen[source] = skip + len(lines)
            bad += [f"{source}: {line}" for line in lines if BAD.search(line)]
        return bad

    def _logs(self):
        yield self.dom0, "dom0", "dmesg"
        yield self.dom0, "xen", "xl dmesg"
        yield self.peer, "peer", "dmesg"
        for path in self.dom0.run("ls /var/log/xen/console/").out.split():
            yield self.dom0, path, f"cat /var/log/xen/console/{path}"

    # Inside

    def _main_args(self):
        return [
            "-machine", "q35,memory-backend=ram", "-accel", "tcg,thread=multi",
            "-cpu", "max,la57=off", "-smp", str(self.cpus),
            "-kernel", f"{IMAGES}/xen",
            "-append", f"{XEN} dom0_mem={self.dom0_memory}M,max:{self.dom0_memory}M "
                       f"dom0_max_vcpus={self.dom0_vcpus} dom0_vcpus_pin",
            "-initrd", f"{IMAGES}/vmlinux {DOM0},{IMAGES}/dom0.cpio",
            "-device", "virtio-net-pci,netdev=wire,mac=52:54:00:00:00:01,romfile="]

    def _peer_args(self):
        return [
            "-machine", "q35,memory-backend=ram", "-accel", "tcg", "-cpu", "max,la57=off",
            "-kernel", f"{IMAGES}/vmlinux", "-append", PEER, "-initrd", f"{IMAGES}/peer.cpio",
            "-device", "virtio-net-pci,netdev=wire,mac=52:54:00:00:00:10,romfile="]

    def _key(self):
        text = repr([self._main_args(), self._peer_args(), self.memory, self.guest_vcpus,
                     self.guest_memory, GUEST, (IMAGES / "id").read_text(),
                     _tree_hash(TOP / "lab", "*.py")])
        qemu = (TOP / "build/root/usr/bin/qemu-system-x86_64").stat()
        return hashlib.sha256(f"{text}{qemu.st_size}{qemu.st_mtime}".encode()).hexdigest()[:16]

    def _start(self, snapshot=None, mode=None):
        self.stop()
        self.out.mkdir(parents=True, exist_ok=True)
        self.payload = _make_payload()
        drive = ["-drive", f"file={self.payload.name},if=virtio,format=raw,readonly=on"]
        wires = socket.socketpair()
        for name, args, memory, wire in (("main", self._main_args(), self.memory, wires[0]),
                                         ("peer", self._peer_args(), 1536, wires[1])):
            self.machines.append(Machine(name, args + drive, memory, wire,
                                         self.out / f"{name}.log", snapshot, mode))
        for wire in wires:
            wire.close()
        self.seen = {}
        self.main, peer = self.machines
        self.dom0 = Host("dom0", self.main.agent)
        self.peer = Host("peer", peer.agent)
        self.guest = Host("guest", self.main.agent, via="198.18.0.2")

    def _bring_up(self):
        for machine in self.machines:
            machine.start()
        for machine in self.machines:
            machine.agent.ping(120)
        self.dom0.run("until labrun peer true; do usleep 100000; done", timeout=30)
        self.guest = self.create_guest()

    def _make_snapshot(self, snapshot):
        print("lab: making a warm snapshot", file=sys.stderr)
        new = snapshot.with_suffix(".new")
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(parents=True)
        self._start(new, "save")
        self._bring_up()
        for line in self.check_logs():
            print(f"lab: while booting: {line}", file=sys.stderr)
        for machine in self.machines:
            machine.command("stop")
        for machine in self.machines:
            machine.save()
        new.rename(snapshot)
        old = sorted(SNAPSHOTS.iterdir(), key=lambda p: p.stat().st_mtime)
        for path in old[:-SNAPSHOTS_KEPT]:
            shutil.rmtree(path)

    def _unpack(self):
        jobs = [host.spawn(f"payload {host.name}") for host in (self.dom0, self.guest, self.peer)]
        for job in jobs:
            job.wait(60, check=True)


def _make_payload():
    """The tar that each side unpacks, as an unlinked-on-close file of a fixed size."""
    folder = TOP / "build/payload"
    for name in ("all", "dom0", "guest", "peer"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    image = tempfile.NamedTemporaryFile(prefix="vpipe-payload-")
    subprocess.run(["tar", "-C", folder, "--owner=0", "--group=0", "-cf", image.name,
                    "all", "dom0", "guest", "peer"], check=True)
    if os.stat(image.name).st_size > PAYLOAD_SIZE:
        raise LabError(f"{folder} is over {PAYLOAD_SIZE >> 20} MiB")
    os.truncate(image.name, PAYLOAD_SIZE)
    return image


def _tree_hash(folder, pattern):
    return hashlib.sha256(b"".join(p.read_bytes() for p in sorted(folder.glob(pattern)))).hexdigest()


def _lock():
    """Only one lab runs on a machine; it waits for the others."""
    path = pathlib.Path(tempfile.gettempdir()) / "vpipe-lab.lock"
    lock = open(path, "a")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print("lab: waiting for another lab to end", file=sys.stderr)
        fcntl.flock(lock, fcntl.LOCK_EX)
    return lock
