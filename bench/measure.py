"""
One transfer, and what it took: its time by the program's own clock, CPU time by Xen's
count, that of dom0's threads, events and statistics before and after.

What costs little is read last before and first after it; the rest, which costs dom0 some
time, outside of that.
"""

import json
import os
import re
import time

import cases
import demo
from disk import ROOT
from lab import LabError

DEVICES = "/sys/bus/xen-backend/devices"
DEVICE = f"{DEVICES}/vpipe-1-0"
BUSY = 0.15         # of the machine: what others may use while something is measured
TRIES = 3           # of a measurement that others spoil
DEADLINE = 580      # seconds for one transfer
# Whose time it is: the name of a thread of dom0. Programs come and go: theirs is the rest.
THREADS = (("vpipe", re.compile(r"vpback/")), ("blkback", re.compile(r"\d+\.xvd")),
           ("netback", re.compile(r"vif\d+\.")), ("softirq", re.compile(r"ksoftirqd/")),
           ("worker", re.compile(r"kworker/")))
NO_SUMS = re.compile(r".*_(mean|max)|credits")  # of the statistics: nothing to subtract
COUNTERS = ("grep -H . /proc/[0-9]*/comm /proc/[0-9]*/schedstat {} /proc/interrupts"
            " 2>/dev/null || :")


def _kind(thread):
    return next((kind for kind, name in THREADS if name.match(thread)), None)


def _interrupts(lines):
    """Event -> how often, over all CPUs."""
    found = {}
    for words in (line.split() for line in lines):
        if "-event" in words:
            count = sum(int(word) for word in words[1:] if word.isdigit())
            found[words[-1]] = found.get(words[-1], 0) + count
    return found


def _parse(text):
    """Of COUNTERS: seconds of the kinds of threads, statistics, interrupts."""
    names, times, stats, interrupts = {}, {}, {}, []
    for path, _, value in (line.partition(":") for line in text.splitlines()):
        words = path.split("/")
        if words[-1] == "comm":
            names[words[2]] = value
        elif words[-1] == "schedstat":
            times[words[2]] = int(value.split()[0]) / 1e9
        elif words[-1] == "interrupts":
            interrupts.append(value)
        elif not NO_SUMS.fullmatch(words[-1]):
            stats[words[-1]] = stats.get(words[-1], 0) + int(value)
    threads = {}
    for pid, seconds in times.items():
        if kind := _kind(names.get(pid, "")):
            threads[kind] = threads.get(kind, 0) + seconds
    return {"threads": threads, "stats": stats, "events_dom0": _interrupts(interrupts)}


def grown(after, before):
    return {name: value - before.get(name, 0) for name, value in after.items()
            if value != before.get(name, 0)}


class Meter:
    """
    From here to the call of end(). domains: whose CPU time and statistics are added up;
    events in guests are those of the first.
    """

    def __init__(self, stage, domains=(1,)):
        self.stage, self.domains = stage, domains
        self.counters = self._counters()
        self.foreign, self.began = demo.foreign_ticks(stage), time.monotonic()
        self.cpu = self._cpu()

    def end(self):
        cpu = grown(self._cpu(), self.cpu)
        ticks = (time.monotonic() - self.began) * os.sysconf("SC_CLK_TCK") * os.cpu_count()
        foreign = (demo.foreign_ticks(self.stage) - self.foreign) / ticks
        got = {kind: grown(value, self.counters[kind])
               for kind, value in self._counters().items()}
        domains = sum(value for name, value in cpu.items() if name.isdigit())
        seconds = {"dom0_cpu_s": cpu.get("0", 0),
                   "domu_cpu_s": sum(cpu.get(str(one), 0) for one in self.domains),
                   "xen_cpu_s": cpu["now"] - cpu.get("idle", 0) - domains}
        return {**{name: round(value, 6) for name, value in seconds.items()},
                "threads": {kind: round(value, 6) for kind, value in got.pop("threads").items()},
                **got, "foreign": round(foreign, 3)}

    def _cpu(self):
        lines = self.stage.dom0.run("/payload/xencpu all").out.splitlines()
        return {name: int(value) / 1e9 for name, value in (line.split() for line in lines)}

    def _counters(self):
        guest = self.stage.guest.run("cat /proc/interrupts", timeout=120).out
        files = " ".join(f"{DEVICES}/vpipe-{one}-0/statistics/*" for one in self.domains)
        return {**_parse(self.stage.dom0.run(COUNTERS.format(files)).out),
                "events_guest": _interrupts(guest.splitlines())}


class Bench:
    """Runs cases on a stage; ports are never used twice."""

    def __init__(self, stage):
        self.stage, self.port = stage, 5000

    def next_port(self):
        self.port += 1
        return self.port

    def forget(self):
        """No cached data; no cached round-trip times either."""
        for host in (self.stage.guest, self.stage.dom0):
            host.run(f"rm -f /fs/out {ROOT}/fs/out; sync; echo 3 >/proc/sys/vm/drop_caches;"
                     "ip tcp_metrics flush", timeout=120)
        self.stage.peer.run("ip tcp_metrics flush")

    def warm_up(self, case):
        """The same, with less: nobody has touched its pages, and no emulator has translated it."""
        self.forget()
        self._transfer(case._replace(mebibytes=min(case.mebibytes, self.stage.warm_up)))

    def once(self, case):
        """
        One transfer, from caches that are as the case wants them. Another one, which is not
        measured, comes before it.
        """
        self.warm_up(case)
        self.forget()
        if case.cache == "warm":
            self._transfer(case)
        for _ in range(TRIES):
            result = self._transfer(case)
            if self.stage.virtual or result["foreign"] <= BUSY:
                break
            if case.cache == "cold":
                self.forget()
        return result

    def _transfer(self, case):
        stage = self.stage
        host = getattr(stage, cases.way(case.pipe, case.way).host)
        port, sink_port, sink = self.next_port(), self.next_port(), None
        if cases.has_sink(case.pipe):
            sink = stage.peer.spawn(cases.sink_command(sink_port))
            sink.wait_output("listening", 60)
        job = host.spawn("echo ready; read -r go; exec "
                         + cases.command(stage, case, port, sink_port), stdin=None)
        job.wait_output("ready", 120)
        if cases.is_server(case.pipe):
            job.write(b"go\n")
            job.wait_output("listening", 120)
            meter = Meter(stage)
            source = stage.peer.spawn(cases.source_command(host.name, port, case.mebibytes))
        else:
            meter = Meter(stage)
            job.write(b"go\n")
        result = job.wait(DEADLINE)
        got = meter.end()
        if cases.is_server(case.pipe):
            source.wait(60, check=True)
        if sink:
            sink.wait(60, check=True)
        return {**said(case, job.command, result), **got}


def said(case, command, result):
    """What the program says of itself; a transfer that is not what it should be is an error."""
    try:
        line = json.loads(result.out.splitlines()[-1])
    except (ValueError, IndexError):
        line = {}
    if result.rc or line.get("error") or line.get("bytes") != case.mebibytes << 20:
        raise LabError(f"exit status {result.rc}: {command}\n{result.out}{result.err}")
    if case.way == "vpipe" and line["offloaded"] != line["bytes"]:
        raise LabError(f"not all was moved by dom0: {command}\n{result.out}")
    return {"bytes": line["bytes"], "seconds": line["seconds"],
            "mb_per_s": round(line["bytes"] / 1e6 / line["seconds"], 3)}
