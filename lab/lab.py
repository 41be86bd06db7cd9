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
        └──── wire: 198.18.0.0/24, 2001:db8::/64 ──────┘

    with Lab() as lab:                  # a warm snapshot, made when missing
        lab.dom0.run("xl list").out
        p = lab.peer.spawn("nc -l -p 5000 >/dev/null")
        lab.guest.run("head -c 1M /dev/zero | nc 198.18.0.10 5000")
        p.wait(timeout=10)
        assert lab.check_logs() == []

build/payload/{all,dom0,guest,peer}/ is unpacked to /payload of each side. DISK is a file
of the host's, lab.disk: unlike all else it stays as it is when the machine dies. The
consoles are logged in out/lab/. Lab(virtual=True) is a lab in virtual time: an instruction
takes a nanosecond, however long it does, and what is measured does not depend on what else
the host does. The peer is then a network namespace of dom0, since two machines would not
have the same time; and of two CPUs that are busy each has half of the time. LAB_ACCEL is
QEMU's -accel (kvm, where it can run Xen). Everything ends with this process, and no wait is
without a deadline.
"""

import argparse
import fcntl
import hashlib
import json
import os
import pathlib
import re
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import termios
import threading
import tty

from agent import Host, LabError, LabTimeout  # noqa: F401 (for tests)
from machine import Machine

TOP = pathlib.Path(__file__).resolve().parent.parent
IMAGES = TOP / "build/images"
SNAPSHOTS = TOP / "build/lab"
OUT = TOP / "out/lab"
SNAPSHOTS_KEPT = 6      # the demo, the tests, the benchmarks
PAYLOAD_MIB = 256
DISK_MIB = 320
PEER_MEMORY = 1536
BRIDGE_PEER = "peer"    # the namespace, and its end of the cable at the bridge
ADDRESSES = {"dom0": "198.18.0.1", "guest": "198.18.0.2", "peer": "198.18.0.10",
             **{f"guest{n}": f"198.18.0.{n + 1}" for n in range(2, 9)}}  # 2001:db8::10, and so on
# MiB of a guest that only runs programs, and what its kernel needs to be told then: that
# its root is as large as it wants to be.
SMALL = {"memory": 192, "kernel": "rootfstype=ramfs"}
ACCEL = os.environ.get("LAB_ACCEL", "tcg,thread=multi")
# A time that passes with instructions, and at once when there are none.
VIRTUAL = ["-accel", "tcg,thread=single", "-icount", "shift=0,sleep=off", "-rtc", "clock=vm"]
# NICs that segment and check sums, as those of servers do: over a socket QEMU's
# virtio-net does not.
NIC, PEER_NIC = "vmxnet3", "e1000e"
# "rep movsb" is emulated byte by byte: the kernel shall not use it. With XSAVE, PV
# guests of several vCPUs lose registers, with stock kernels and no vPipe near:
# head -c 33000000 FILE | sha256sum has another result each time.
CPU = "max,la57=off,erms=off,fsrm=off,xsave=off"
# QEMU does not expect that writing an MSR looks at the time, as the x2APIC's timer does.
VIRTUAL_CPU = f"{CPU},x2apic=off"

# A crash ends the run. "Fast" is what an emulated machine is better off without.
KERNEL = "oops=panic panic=-1 net.ifnames=0 random.trust_cpu=on log_buf_len=4M"
KERNEL_FAST = ("mitigations=off rodata=off init_on_alloc=0 cryptomgr.notests audit=0 lsm= "
               "raid=noautodetect")
DOM0 = "console=hvc0 loglevel=5 tsc=reliable clocksource=xen no_timer_check"
GUEST = "console=hvc0 loglevel=8"
PEER = "console=ttyS0 loglevel=5 tsc=reliable no_timer_check"
# eager-fpu: QEMU runs the instructions for SHA without looking at CR0.TS, so that a
# vCPU whose registers Xen has yet to load counts with another one's. With a second guest
# on the CPU each hash of 50 MB was wrong; so none are loaded late.
XEN = "console=com1 com1=115200,8n1 console_timestamps=boot conring_size=1M spec-ctrl=eager-fpu"
XEN_FAST = "watchdog=0 bootscrub=0 spec-ctrl=no,eager-fpu xpti=off"

BAD = re.compile(r"BUG\b|WARNING|Oops|INFO: (possible|task|suspicious|rcu)|rcu: .*(stall|self-det)"
                 r"|self-detected stall|soft lockup|hard LOCKUP|KFENCE|KASAN|UBSAN|KCSAN"
                 r"|general protection|blocked for more than|Call Trace|Kernel panic"
                 r"|unable to handle|refcount_t|list_(add|del) corruption|scheduling while atomic|Bad page"
                 r"|does not continue the connection")


class Lab:
    """
    dom0_vcpus, guest_vcpus: dom0 lives on the first CPUs, guests on the last;
    cpus, memory (MiB): of the whole machine; defences: with all that a kernel
    does against attackers; scheduler: of Xen ("credit", "credit2", and then its
    options; None: its own choice); virtual: see above; boot: cold, without a
    snapshot; timeout: seconds from each start to the end, whatever happens.
    """

    def __init__(self, dom0_vcpus=1, guest_vcpus=1, cpus=2, memory=5120, dom0_memory=3072,
                 guest_memory=512, defences=False, scheduler=None, virtual=False, boot=False,
                 timeout=1800):
        self.dom0_vcpus, self.guest_vcpus, self.cpus = dom0_vcpus, guest_vcpus, cpus
        self.memory, self.dom0_memory, self.guest_memory = memory, dom0_memory, guest_memory
        self.kernel = KERNEL if defences else f"{KERNEL} {KERNEL_FAST}"
        self.xen = XEN if defences else f"{XEN} {XEN_FAST}"
        if scheduler:
            self.xen += f" sched={scheduler}"
        self.virtual = virtual
        self.timeout = timeout
        self.machines, self.payload, self.watchdog = [], None, None
        self.lock = _lock()
        self.disk = tempfile.NamedTemporaryFile(prefix="vpipe-disk-")
        self.disk.truncate(DISK_MIB << 20)
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
        self.seen = json.loads((snapshot / "seen").read_text())
        self._unpack()

    def forget_snapshot(self):
        """The next restore is from another boot."""
        shutil.rmtree(SNAPSHOTS / self._key())

    def boot(self):
        """Start over cold."""
        self._start()
        self._bring_up()
        self._unpack()

    def alive(self):
        return bool(self.machines) and all(m.alive() for m in self.machines)

    def healthy(self, timeout=15):
        """Do dom0, guest and peer answer?"""
        try:
            for host in (self.dom0, self.guest, self.peer):
                host.run("true", timeout)
            return True
        except LabError:
            return False

    def kill(self):
        """The power of the main machine goes: at once, whatever it does."""
        self.main.process.kill()
        self.main.process.wait()

    def resize_disk(self, mebibytes=DISK_MIB):
        """DISK, while all runs; a snapshot has it as it was made."""
        self.main.command("block_resize", device="virtio1", size=mebibytes << 20)
        self.dom0.run(f"until [ $(blockdev --getsize64 /dev/vdb) = {mebibytes << 20} ];"
                      " do usleep 20000; done", timeout=20)

    def stop(self):
        if self.watchdog:
            self.watchdog.cancel()
        for machine in self.machines:
            machine.kill()
        self.machines = []
        if self.payload:
            self.payload.close()
            self.payload = None

    def close(self):
        self.stop()
        self.disk.close()
        self.lock.close()

    # Guests

    def create_guest(self, name="guest", address=None, wait=True, **config):
        """
        Create a domain and wait for its labd; returns its Host. config: vcpus, memory,
        data (dom0's device behind xvdc), kernel (more arguments of it), extra (more lines
        for xl).
        """
        address = address or ADDRESSES[name]
        self.dom0.write_file(f"/etc/xen/{name}.cfg", self._guest_config(name, address, **config))
        self.dom0.run(f"xl create /etc/xen/{name}.cfg")
        if wait:
            self._wait_guest(name, address)
        return Host(name, self.dom0.agent, via=address)

    def create_guests(self, number, **config):
        """
        Small ones beside the first, until there are so many; they boot at the same time. The
        Hosts of all. config: as above, of each.
        """
        names = [f"guest{n}" for n in range(2, number + 1)]
        hosts = [self.create_guest(name, wait=False, **{**SMALL, **config}) for name in names]
        for name in names:
            self._wait_guest(name, ADDRESSES[name])
        return [self.guest, *hosts]

    def destroy_guest(self, name="guest"):
        self.dom0.run(f"xl destroy {name}")

    # Logs

    def check_logs(self):
        """Bad lines of all logs since the last call (or the start)."""
        xen = self.xen_log + self.dom0.run("xl dmesg -c", timeout=30).out.splitlines()
        bad = [f"xen: {line}" for line in xen if BAD.search(line)]
        self.xen_log = []
        logs = [(self.dom0, "dom0", "dmesg")]
        if not self.virtual:
            logs.append((self.peer, "peer", "dmesg"))
        for name in self.dom0.run("ls /var/log/xen/console/").out.split():
            logs.append((self.dom0, name, f"cat /var/log/xen/console/{name}"))
        jobs = [(source, host.spawn(f"{command} | tail -n +{self.seen.get(source, 0) + 1}"))
                for host, source, command in logs]
        for source, job in jobs:
            lines = job.wait(check=True).out.split("\n")[:-1]  # the last one may still grow
            self.seen[source] = self.seen.get(source, 0) + len(lines)
            bad += [f"{source}: {line.rstrip()}" for line in lines if BAD.search(line)]
        return bad

    def keep_xen_log(self, lines):
        """Lines that somebody else has taken out of Xen's log, for check_logs."""
        self.xen_log += lines

    def post_mortem(self):
        """The end of the serial logs: all there is when a machine is dead."""
        return [f"{m.name}: {line}" for m in self.machines for line in
                (OUT / f"{m.name}.log").read_text(errors="replace").splitlines()[-60:]]

    # Inside

    def _wait_guest(self, name, address):
        self.dom0.run(f"until labrun {address} true 2>/dev/null; do xl domid {name} >/dev/null"
                      " || exit 1; usleep 100000; done", timeout=150)

    def _guest_config(self, name, address, vcpus=None, memory=None, data="/dev/ram0", kernel="",
                      extra=""):
        vcpus = vcpus or self.guest_vcpus
        number = address.split('.')[3]
        mac = f"00:16:3e:00:00:{int(number):02x}"
        return f"""
name = "{name}"
type = "pv"
kernel = "/root/vmlinux"
ramdisk = "/root/guest.cpio"
cmdline = "{GUEST} {self.kernel} hostname={name} lab_ip={address} {kernel}"
vcpus = {vcpus}
cpus = "{self.cpus - vcpus}-{self.cpus - 1}"
memory = {memory or self.guest_memory}
vif = ["mac={mac},bridge=xenbr0,ip={address} 2001:db8::{number}"]
disk = ["/dev/vda,raw,xvdb,r", "{data},raw,xvdc,w"]
on_poweroff = "destroy"
on_reboot = "destroy"
on_crash = "destroy"
{extra}
"""

    def _main_args(self):
        return [
            *([*VIRTUAL, "-cpu", VIRTUAL_CPU] if self.virtual else ["-accel", ACCEL, "-cpu", CPU]),
            "-smp", str(self.cpus),
            "-kernel", f"{IMAGES}/xen",
            "-append", f"{self.xen} dom0_mem={self.dom0_memory}M,max:{self.dom0_memory}M "
                       f"dom0_max_vcpus={self.dom0_vcpus} dom0_vcpus_pin",
            "-initrd", f"{IMAGES}/vmlinux {DOM0} {self.kernel} hostname=dom0,{IMAGES}/dom0.cpio",
            "-device", f"{NIC},netdev=wire,mac=52:54:00:00:00:01,romfile="]

    def _peer_args(self):
        return [
            "-accel", ACCEL.split(",")[0], "-cpu", CPU,
            "-kernel", f"{IMAGES}/vmlinux", "-initrd", f"{IMAGES}/peer.cpio",
            "-append", f"{PEER} {self.kernel} hostname=peer",
            "-device", f"{PEER_NIC},netdev=wire,mac=52:54:00:00:00:10,romfile="]

    def _key(self):
        """Names the snapshot: of all that it depends on."""
        qemu = (TOP / "build/root/usr/bin/qemu-system-x86_64").stat()
        parts = [self._main_args(), self._peer_args(), Machine.ARGS, self.memory, PEER_MEMORY,
                 PAYLOAD_MIB, DISK_MIB, self._guest_config("guest", ADDRESSES["guest"]),
                 (IMAGES / "id").read_text(), qemu.st_size, qemu.st_mtime]
        return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]

    def _start(self, snapshot=None, mode=None):
        self.stop()
        OUT.mkdir(parents=True, exist_ok=True)
        self.payload = _make_payload()
        payload = ["-drive", f"file={self.payload.name},if=virtio,format=raw,readonly=on"]
        # The host's cache outlives QEMU: nothing need be flushed from there.
        disk = ["-drive", f"file={self.disk.name},if=virtio,format=raw,cache=unsafe"]
        wires = socket.socketpair()
        machines = [("main", self._main_args() + payload + disk, self.memory, wires[0])]
        if not self.virtual:
            machines.append(("peer", self._peer_args() + payload, PEER_MEMORY, wires[1]))
        for name, args, memory, wire in machines:
            self.machines.append(Machine(name, args, memory, wire,
                                         OUT / f"{name}.log", snapshot, mode))
        for wire in wires:
            wire.close()
        self.watchdog = threading.Timer(self.timeout, self._expire)
        self.watchdog.daemon = True
        self.watchdog.start()
        for machine in self.machines:
            machine.connect()
        self.seen, self.xen_log = {}, []
        self.main = self.machines[0]
        self.dom0 = Host("dom0", self.main.agent)
        self.peer = (Host("peer", self.main.agent, netns=BRIDGE_PEER) if self.virtual else
                     Host("peer", self.machines[1].agent))
        self.guest = Host("guest", self.main.agent, via=ADDRESSES["guest"])

    def _expire(self):
        print(f"lab: {self.timeout} s are over: all machines are killed", file=sys.stderr)
        for machine in self.machines:
            machine.process.kill()

    def _bring_up(self):
        for machine in self.machines:
            machine.start()
        for machine in self.machines:
            machine.agent.ping(120)
        if self.virtual:
            self._plug_in_peer()
        else:
            self.dom0.run("until labrun peer true; do usleep 100000; done", timeout=30)
        self.create_guest()

    def _plug_in_peer(self):
        """A host at dom0's bridge that is not one."""
        address = ADDRESSES["peer"]
        self.dom0.run(f"ip netns add {BRIDGE_PEER} && ip link add {BRIDGE_PEER} up master xenbr0"
                      f" type veth peer name eth0 netns {BRIDGE_PEER}")
        self.peer.run(f"ip link set lo up; ip link set eth0 up; ip addr add {address}/24 dev eth0;"
                      f"ip addr add 2001:db8::{address.split('.')[3]}/64 dev eth0 nodad")

    def _make_snapshot(self, snapshot):
        print("lab: making a warm snapshot", file=sys.stderr)
        new = snapshot.with_suffix(".new")
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(parents=True)
        self._start(new, "save")
        self._bring_up()
        for line in self.check_logs():
            print(f"lab: while booting: {line}", file=sys.stderr)
        (new / "seen").write_text(json.dumps(self.seen))
        for machine in self.machines:
            machine.command("stop")
        for machine in self.machines:
            machine.save()
            # Zeroed pages need no room.
            subprocess.run(["fallocate", "--dig-holes", new / f"{machine.name}.ram"], check=True)
        new.rename(snapshot)
        old = sorted(SNAPSHOTS.iterdir(), key=lambda p: p.stat().st_mtime)
        for path in old[:-SNAPSHOTS_KEPT]:
            shutil.rmtree(path)

    def _unpack(self):
        hosts = (self.dom0, self.guest) if self.virtual else (self.dom0, self.guest, self.peer)
        jobs = [host.spawn(f"payload {host.name} {self.payload.mebibytes}") for host in hosts]
        for job in jobs:
            job.wait(60, check=True)


def _make_payload():
    """The tar that each side unpacks, in a file of the size that the disk has."""
    folder = TOP / "build/payload"
    names = ("all", "dom0", "guest", "peer")
    for name in names:
        (folder / name).mkdir(parents=True, exist_ok=True)
    image = tempfile.NamedTemporaryFile(prefix="vpipe-payload-")
    subprocess.run(["tar", "-C", folder, "--owner=0", "--group=0", "-cf", image.name, *names],
                   check=True)
    image.mebibytes = -(-os.stat(image.name).st_size // (1 << 20))
    if image.mebibytes > PAYLOAD_MIB:
        raise LabError(f"{folder} is over {PAYLOAD_MIB} MiB")
    os.truncate(image.name, PAYLOAD_MIB << 20)
    return image


def _lock():
    """Only one lab runs on a machine; it waits for the others."""
    path = pathlib.Path(tempfile.gettempdir()) / "vpipe-lab.lock"
    try:
        lock = open(path)  # perhaps another user's
    except FileNotFoundError:
        lock = open(path, "a")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print("lab: waiting for another lab to end", file=sys.stderr)
        fcntl.flock(lock, fcntl.LOCK_EX)
    return lock


def shell(lab):
    """The console of dom0 on this terminal."""
    print("lab: this is dom0; the guest: xl console guest (out again: Ctrl-]), "
          "or labrun guest COMMAND; leave: Ctrl-A x\r")
    screen, old = sys.stdin.fileno(), termios.tcgetattr(sys.stdin)
    console = lab.main.console
    console.listener = lambda data: os.write(sys.stdout.fileno(), data)
    tty.setraw(screen)
    try:
        console.write(b"\r")
        escape = False
        while lab.alive():
            if not select.select([screen], [], [], 0.5)[0]:
                continue
            data = os.read(screen, 1024)
            if not data or (escape and data[:1] == b"x") or b"\x01x" in data:
                break
            escape = data == b"\x01"
            if not escape:
                console.write(data)
    finally:
        console.listener = None
        termios.tcsetattr(screen, termios.TCSADRAIN, old)


def main():
    parser = argparse.ArgumentParser(description="The vPipe lab")
    parser.add_argument("action", choices=["shell", "run", "snapshot"])
    parser.add_argument("host", nargs="?", choices=["dom0", "guest", "peer"], default="dom0")
    parser.add_argument("command", nargs="?", default="xl list")
    parser.add_argument("--boot", action="store_true", help="cold, not from the snapshot")
    args = parser.parse_args()
    with Lab(boot=args.boot) as lab:
        if args.action == "shell":
            shell(lab)
        elif args.action == "run":
            result = getattr(lab, args.host).run(args.command, timeout=600, check=False)
            sys.stdout.write(result.out)
            sys.stderr.write(result.err)
            return result.rc
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except LabError as error:
        sys.exit(f"lab: {error}")
