"""The path between guest and peer: worse than it is, and what was lost on it."""

import contextlib
import os

from lab import OUT
from rig import lines

# netem delays what leaves the peer, and what leaves dom0: half of the round trip each.
# Nothing of the lab's own ways (virtio-serial, vif) goes there.
STATS = "/sys/bus/xen-backend/devices/vpipe-*/statistics"
# Of /proc/net/snmp and netstat: segments that were sent again, or came twice or too early.
LOSS = ("RetransSegs", "TCPLostRetransmit", "TCPTimeouts", "TCPSpuriousRTOs", "TCPFastRetrans",
        "TCPSlowStartRetrans", "TCPDSACKRecv", "TCPDSACKOfoRecv", "TCPDSACKOldSent",
        "TCPDSACKOfoSent", "TCPOFOQueue", "TCPOFODrop", "TCPRcvCollapsed", "PAWSEstab",
        "TCPRcvQDrop", "TCPBacklogDrop", "TCPACKSkippedSeq", "TCPChallengeACK")
# Of those, what a path that loses nothing may show all the same, of others' doing.
HARMLESS = {"TCPACKSkippedSeq", "TCPRcvCollapsed", "TCPTimeouts"}


def _netem(delay, loss, reorder):
    """Arguments of tc for one direction."""
    words = [f"delay {delay / 2}ms" if delay else "delay 1ms" if reorder else ""]
    if reorder:     # without a delay, those that are reordered are the ones that wait
        words.append(f"reorder {reorder if delay else 100 - reorder}%")
    if loss:
        words.append(f"loss {loss}%")
    return " ".join(["limit 20000", *words])


@contextlib.contextmanager
def path(rig, delay=0, loss=0, reorder=0):
    """A round trip of `delay` ms; of each direction so many percent lost, and reordered."""
    hosts = (rig.peer, rig.dom0) if delay or loss or reorder else ()
    for host in hosts:
        host.run(f"tc qdisc replace dev eth0 root netem {_netem(delay, loss, reorder)}")
    for host in (rig.peer, rig.guest, rig.dom0):
        host.run("ip tcp_metrics flush")
    try:
        yield
    finally:
        for host in hosts:
            host.run("tc qdisc del dev eth0 root")


@contextlib.contextmanager
def faithful_nics(rig):
    """The emulated network cards lose FIN and PSH of what they segment: they segment nothing."""
    hosts = (rig.peer, rig.dom0)
    for host in hosts:
        host.run("ethtool -K eth0 tso off")
    try:
        yield
    finally:
        for host in hosts:
            host.run("ethtool -K eth0 tso on")


@contextlib.contextmanager
def no_probes(rig):
    """
    Without tail-loss probes, which are sent for nothing whenever the emulator stalls for 8 ms
    or so, with vPipe and without. What is really lost is sent again all the same, by a fast
    retransmission or after 200 ms, and so is what arrives in another order.
    """
    setting = "/proc/sys/net/ipv4/tcp_early_retrans"

    def everywhere(value):
        for host in (rig.peer, rig.guest, rig.dom0):
            host.run(f"echo {value} >{setting}")
        rig.detach()
        rig.attach()        # the shadows have dom0's
    usual = rig.peer.run(f"cat {setting}").out.strip()
    everywhere(0)
    try:
        yield
    finally:
        everywhere(usual)


def stats(rig):
    """The backend's counters."""
    out = rig.dom0.run(f"cd {STATS} && grep . *").out
    return {name: int(value) for name, _, value in (line.partition(":") for line in out.split())}


def _drops(host):
    """Frames that network devices have dropped, by device."""
    out = host.run("cd /sys/class/net; grep . */statistics/[rt]x_dropped"
                   " */statistics/[rt]x_errors */statistics/rx_missed_errors").out
    return {name.replace("/statistics/", " "): int(value)
            for name, _, value in (line.partition(":") for line in out.split())}


def _counters(host):
    """/proc/net/snmp and netstat: two lines each, names and values."""
    text = host.run("cat /proc/net/snmp /proc/net/netstat").out.splitlines()
    found = {}
    for names, values in zip(text[::2], text[1::2], strict=True):
        found |= dict(zip(names.split()[1:], map(int, values.split()[1:]), strict=True))
    return {name: found.get(name, 0) for name in LOSS}


class Counts:
    """What all sides count, from here to the call of end()."""

    def __init__(self, rig):
        self.rig, self.before = rig, self._now(rig)

    @staticmethod
    def _now(rig):
        return {"peer": _counters(rig.peer), "guest": _counters(rig.guest), "dom0": stats(rig),
                **{f"{host.name}'s devices": _drops(host)
                   for host in (rig.peer, rig.guest, rig.dom0)}}

    def end(self):
        self.rig.settle()       # shadows are counted when they end
        now = self._now(self.rig)
        self.grown = {side: {name: value - self.before[side].get(name, 0)
                             for name, value in now[side].items()} for side in now}
        return self

    def hand_overs(self):
        return self.grown["dom0"]["attaches_total"]

    def losses(self):
        """Whatever was sent again, came twice or out of order, or was dropped."""
        bad = {f"{side} {name}": value for side in ("peer", "guest")
               for name, value in self.grown[side].items() if value and name not in HARMLESS}
        return bad | {f"dom0 {name}": self.grown["dom0"][name]
                      for name in ("retransmits_total", "frames_dropped_total")
                      if self.grown["dom0"][name]}

    def __str__(self):
        return "; ".join(f"{side}: " + ", ".join(f"{n} {v}" for n, v in of.items() if v)
                         for side, of in self.grown.items())


@contextlib.contextmanager
def captured(rig, name):
    """With CAPTURE=1 in the environment: what passed eth0 of dom0 and peer, in out/lab."""
    if not os.environ.get("CAPTURE"):
        yield
        return
    hosts = (rig.dom0, rig.peer)
    command = "exec tcpdump -Z root -i eth0 -U -s 110 -w /tmp/capture tcp and not port 4711"
    jobs = [host.spawn(command) for host in hosts]
    for job in jobs:
        job.wait_output("listening on", timeout=20)
    try:
        yield
    finally:
        for host, job in zip(hosts, jobs, strict=True):
            host.run("killall -INT tcpdump", check=False)
            job.wait(timeout=20)
            (OUT / f"{name}-{host.name}.pcap").write_bytes(host.read_file("/tmp/capture"))
            host.run("rm /tmp/capture")


# The two ends (vptest talk, vptest duplex)


def duplex(rig, options=""):
    """A peer that sends and checks; with its port."""
    port = rig.next_port()
    job = rig.peer.spawn(f"exec /payload/vptest duplex {options} {port}", stdin=None)
    job.wait_output('"listening"', timeout=20)
    return job, port


def start_talk(rig, file, steps, port, options="", host=None):
    return rig.guest.spawn(f"exec /payload/vptest talk {options} {host or rig.address} {port} "
                           f"{file} {steps}", stdin=None)


class Talk:
    """A conversation under way; result() when it has ended, with both ends compared."""

    def __init__(self, rig, file, steps, repeat=1, peer="", second=None, options=""):
        self.rig = rig
        self.peer, port = duplex(rig, peer)
        self.second = None
        if second is not None:
            self.second, to = duplex(rig, second)
            options += f" --to {to}"
        self.guest = start_talk(rig, file, steps, port, f"--repeat {repeat} {options}")

    def result(self, timeout=120):
        """What the guest says: the streams, the sum, the times; and the peers' streams."""
        said = lines(self.guest.wait(timeout=timeout, check=True).out)
        streams = [line for line in said if "sent" in line]
        peers = [lines(job.wait(timeout=60, check=True).out)[-1]
                 for job in (self.peer, self.second) if job]
        for stream, peer in zip(streams, peers, strict=True):
            assert (stream["sent"], stream["received"]) == (peer["received"], peer["sent"]), said
            assert stream["eof"] == peer["eof"] == 1
            assert stream["errors"] == peer["errors"] == 0, (stream, peer)
        return Result(streams, peers, said)


class Result:
    def __init__(self, streams, peers, said):
        self.streams, self.peers = streams, peers
        self.sum = next(line for line in said if "done" in line)
        self.times = {}     # of each step; several laps are lap, lap#2, ...
        for line in said:
            if "step" in line:
                name, n = line["step"], 1
                while name in self.times:
                    n += 1
                    name = f"{line['step']}#{n}"
                self.times[name] = line

    def retransmitted(self):
        return {f"{side} {n}": stream["retrans"]
                for side, streams in (("guest", self.streams), ("peer", self.peers))
                for n, stream in enumerate(streams) if stream["retrans"]}
