"""
Each call of the modules that may fail does so once, in turn, in every kind of transfer,
while the device comes and goes, and while a module is loaded (tests/inject/inject.h): no
byte is lost, the next transfer is offloaded, and nothing stays behind.
"""

import collections
import errno
import functools
import itertools
import shlex
import time

import pytest

from pipes import FILESYSTEMS, make
from rig import PEER, lines

pytestmark = pytest.mark.long

LENGTH = (256 << 10) + 5
HEAD = 30000        # of a stream: sent or received by ordinary calls before
MORE = 50000        # of a stream: behind what is asked for
MANY = 24           # transfers at once
MODULES = {"guest": "vpipe_front", "dom0": "vpipe_back"}
# The fewest pages that a queue can have: each of them is allocated and granted.
OPTIONS = {"guest": "pool_pages=22", "dom0": ""}

# The operation with its n-th call failing, and again without; until n is too large.
SWEEP = """
cd /sys/module/{module}/parameters
run() {{
	echo $1 >{parameter}
	{operation}
	read left <{parameter}
	echo 0 >{parameter}
	read failed <failed
	echo "{{\\"n\\":$1,\\"left\\":$left,\\"failed\\":\\"$failed\\"}}"
}}
n=0
while n=$((n {step})); run $n; [ $left = 0 ]; do run 0; done
"""

# The same with attach and detach around it.
ATTACH_SWEEP = """
parameters=/sys/module/{module}/parameters
before=$({on} "cat $parameters/live")
n=0 left=0
while [ $left = 0 ]; do
	n=$((n + 1))
	{on} "echo $n >$parameters/fail_nth"
	/payload/vpipectl attach --timeout 3 guest >/dev/null 2>&1
	attached=$?
	[ $attached != 0 ] || {operation}
	{on} "cd $parameters; cat fail_nth failed; echo 0 >fail_nth" >/tmp/failed
	{{ read left; read failed; }} </tmp/failed
	echo "{{\\"n\\":$n,\\"left\\":$left,\\"failed\\":\\"$failed\\",\\"attached\\":$attached}}"
	[ $attached != 0 ] || {operation}
	/payload/vpipectl detach guest >/dev/null 2>&1
	live=$({on} "cd $parameters; tries=40
	             while read live <live; [ \\$live != $before ] && [ \\$((tries -= 1)) != 0 ]; do
	             	usleep 50000; done; echo \\$live")
	echo "{{\\"n\\":0,\\"live\\":$((live - before))}}"
done
"""

# insmod with its n-th call failing.
LOAD_SWEEP = """
n=0 left=0
while [ $left = 0 ]; do
	n=$((n + 1))
	insmod {file} fail_nth=$n 2>/dev/null || continue
	read left </sys/module/{module}/parameters/fail_nth
	rmmod {module}
done
echo $((n - 1))
"""


def file(side, suffix):
    return f"/payload/{MODULES[side].replace('_', '-')}{suffix}.ko"


def load(rig, suffix="", options=None):
    for side in MODULES:
        getattr(rig, side).run(f"insmod {file(side, suffix)} {(options or {}).get(side, '')}")
    rig.attach()


def unload(rig):
    rig.detach()
    for side, module in MODULES.items():
        getattr(rig, side).run(f"rmmod {module}")


def live(rig):
    """Allocations of both modules that were not freed."""
    return {side: int(getattr(rig, side).run(f"cat /sys/module/{module}/parameters/live").out)
            for side, module in MODULES.items()}


@pytest.fixture
def faulty(rig):
    """The rig, with modules in which calls can be made to fail."""
    unload(rig)
    load(rig, "-faulty", OPTIONS)
    rig.detach()
    freed = live(rig)
    rig.attach()
    normal, rig.baseline = rig.baseline, rig.quiet_counts()
    yield rig
    rig.settle()
    rig.detach()
    assert live(rig) == freed
    rig.attach()
    unload(rig)
    load(rig)
    rig.baseline = normal


# What a run has printed, the call that failed in it (or None), what is known besides.
Run = collections.namedtuple("Run", "lines failed info")


def runs_of(out):
    runs, said = [], []
    for line in lines(out):
        if "n" not in line:
            said.append(line)
            continue
        failed = line["n"] and not line["left"]
        runs.append(Run(said, line["failed"].replace("_noprof", "") if failed else None, line))
        said = []
    return runs


def sweep(rig, side, command, parameter="fail_nth", step="+ 1"):
    """All runs of the guest's command: with the first, second ... call failing, and without."""
    if side == "dom0":
        command = f"labrun {rig.guest.via} {shlex.quote(command)}"
    script = SWEEP.format(module=MODULES[side], operation=command, parameter=parameter, step=step)
    return runs_of(getattr(rig, side).run(script, timeout=300).out)


@functools.lru_cache(maxsize=None)
def pattern_hash(rig, length):
    return rig.pattern_hash(length)


class Pipe:
    """What the guest does, and what must come of it."""

    def __init__(self, rig):
        self.rig = rig
        self.jobs = []

    def listen(self, command):
        port = self.rig.next_port()
        self.jobs.append(self.rig.peer.spawn(command.format(port=port)))
        self.jobs[-1].wait_output('"listening"', timeout=20)
        return f"{PEER} {port}"

    def source(self):
        return self.listen(f"/payload/vptest source {{port}} {LENGTH + MORE} times:100000")

    def sink(self):
        return self.listen("/payload/vpipe-sink --buffer 8 {port}")

    def received(self, number):
        """What came to the sink, which is the last job: a line for each connection."""
        end, got = time.monotonic() + 30, []
        while len(got) < number:
            assert time.monotonic() < end, f"{len(got)} connections of {number} ended"
            time.sleep(0.05)
            out = self.jobs[-1].result().out
            got = [line for line in lines(out[:out.rfind("\n") + 1]) if "sha256" in line]
        return got

    def moved(self, run, asked=LENGTH, from_disk=False):
        """How much a run has moved: all of it, but for a disk that could not be read."""
        said = run.lines[0]
        length = said["offloaded"] + said["copied"]
        if run.failed is None and not run.info.get("attached"):
            assert said["offloaded"] > asked - 4096, run
        if length != asked:
            assert from_disk and run.failed == "vpback_disk_submit: submit_bio", run
            assert length < asked and said["errno"] in (0, 5) and (length or said["errno"]), run
        return length

    def end(self):
        for job in self.jobs:
            job.kill()


class FileToSocket(Pipe):
    def __init__(self, rig, steps=f"send:{HEAD} pipe:{HEAD}:all", trust=1):
        super().__init__(rig)
        self.command = (f"/payload/vptest run --trust {trust} {self.sink()}"
                        f" {rig.fill('swept', LENGTH)} {steps}")

    def judge(self, runs):
        for run, got in zip(runs, self.received(len(runs)), strict=True):
            assert got["bytes"] == HEAD + self.moved(run, LENGTH - HEAD, from_disk=True), run
            assert got["sha256"] == pattern_hash(self.rig, got["bytes"]), run


class FileToKeptSocket(FileToSocket):
    """The second transfer finds its connection with dom0."""

    def __init__(self, rig):
        super().__init__(rig, f"send:{HEAD} pipe:{HEAD}:{MORE} pipe:{HEAD + MORE}:all", trust=0)

    def judge(self, runs):
        for run, got in zip(runs, self.received(len(runs)), strict=True):
            self.moved(run, LENGTH - HEAD, from_disk=True)
            assert got["bytes"] == run.lines[0]["bytes"], run
            assert got["sha256"] == run.lines[0]["sha256"], run


class SocketToFile(Pipe):
    def __init__(self, rig):
        super().__init__(rig)
        self.command = (f"/payload/vptest take {self.source()} /fs/taken 0 {LENGTH} trunc"
                        f" unread:{HEAD}; /payload/vptest check /fs/taken 0 {LENGTH} 0")

    def judge(self, runs):
        for run in runs:
            assert self.moved(run) == run.lines[1]["right"] == run.lines[1]["size"], run
            assert run.lines[0]["rest"] == MORE and run.lines[0]["end"] == 0, run


class FileToFile(Pipe):
    def __init__(self, rig):
        super().__init__(rig)
        self.command = (f"/payload/vptest copy {rig.fill('swept', LENGTH)} /fs/copy 0 {LENGTH} 0"
                        f" trunc; /payload/vptest check /fs/copy 0 {LENGTH} 0")

    def judge(self, runs):
        for run in runs:
            length = self.moved(run, from_disk=True)
            assert run.lines[1]["right"] == run.lines[1]["size"] == length, run


class SocketToSocket(Pipe):
    def __init__(self, rig):
        super().__init__(rig)
        self.command = f"/payload/vptest relay {self.source()} {self.sink()} {LENGTH}"

    def judge(self, runs):
        for run, got in zip(runs, self.received(len(runs)), strict=True):
            assert got["bytes"] == self.moved(run), run
            assert got["sha256"] == pattern_hash(self.rig, LENGTH), run
            assert run.lines[0]["rest"] == MORE and run.lines[0]["end"] == 0, run


# How many calls fail, at least, and how many different ones: of the guest, of dom0.
FLOORS = {FileToSocket: ((10, 9), (15, 9)), FileToKeptSocket: ((10, 9), (15, 9)),
          SocketToFile: ((12, 9), (10, 8)), FileToFile: ((12, 9), (10, 4)),
          SocketToSocket: ((8, 5), (16, 8)), "attach": ((75, 22), (60, 33))}


def count(record_property, what, side, runs):
    """Tells how many have failed; did that test anything?"""
    failed = [run.failed for run in runs if run.failed is not None]
    counted = len(failed), len(set(failed))
    floor = dict(zip(MODULES, FLOORS[what], strict=True))[side]
    record_property(f"failures in {side}", len(failed))
    record_property(f"different ones in {side}", len(set(failed)))
    assert runs and runs[-1].failed is None, "it ended with a failure"
    assert all(is_ >= least for is_, least in zip(counted, floor, strict=True)), counted


@pytest.mark.parametrize("pipe", [FileToSocket, FileToKeptSocket, SocketToFile, FileToFile,
                                  SocketToSocket])
def test_transfers(faulty, pipe, record_property):
    for fs in make(faulty, *FILESYSTEMS[0]):
        for side in MODULES:
            one = pipe(fs)
            runs = sweep(fs, side, one.command)
            count(record_property, pipe, side, runs)
            if side == "dom0":      # where frames pass
                runs += sweep(fs, side, one.command, "drop_nth", "* 2 + 1")
            one.judge(runs)
            one.end()


def fail_for_long(rig, side, call, command):
    """The guest's command while that call of one side, once it was made, fails and fails."""
    machine, parameters = getattr(rig, side), f"/sys/module/{MODULES[side]}/parameters"
    for n in range(1, 60):
        machine.run(f"cd {parameters}; echo 1000 >again; echo {n} >fail_nth")
        said = lines(rig.guest.run(command).out)[0]
        failed = machine.run(f"cd {parameters}; echo 0 >again; echo 0 >fail_nth;"
                             " cat failed").out.strip()
        if failed == call:
            return n, said
    raise AssertionError(f"{call} was never reached")


def test_queue_without_memory(faulty):
    """
    There stays to be no memory for the send queue: before the shadow is live the connection
    comes back as it was; after that it is lost, and both ends are told.
    """
    call = "vpipe_tcp_append: tcp_sendmsg_locked"
    one = FileToSocket(faulty, f"send:{4 * LENGTH} pipe:0:all", trust=0)
    n, said = fail_for_long(faulty, "dom0", call, one.command)
    assert said["errors"] == 0 and said["copied"] == LENGTH, said
    got = one.received(n)[-1]
    assert got["bytes"] == 5 * LENGTH and got["sha256"] == said["sha256"]
    one.end()
    # Nothing was sent that is not acknowledged: live at once.
    one = FileToSocket(faulty, "cork send:500 pipe:500:all")
    n, said = fail_for_long(faulty, "dom0", call, one.command)
    assert said["errno"] == 104 and said["offloaded"] == said["copied"] == 0, said
    assert one.received(n)[-1]["bytes"] <= 500
    one.end()


def test_reads_past_the_capture(faulty):
    """
    The bios of reads are not caught, and bring data into pages that all reads share: what one
    has found and cleaned, another does not take for a hole.
    """
    one = FileToSocket(faulty)
    n, said = fail_for_long(faulty, "guest", "capture_probe: bio_has_data", one.command)
    assert said["copied"] == LENGTH - HEAD, said
    # The same call goes on failing.
    faulty.guest.run("echo 1000000 >/sys/module/vpipe_front/parameters/again")
    out = faulty.guest.run(f"for i in $(seq {MANY}); do {one.command} & done; wait;"
                           "echo 0 >/sys/module/vpipe_front/parameters/again", timeout=120).out
    assert [said["copied"] for said in lines(out)] == MANY * [LENGTH - HEAD]
    for got in one.received(n + MANY):
        assert got["bytes"] == LENGTH and got["sha256"] == pattern_hash(faulty, LENGTH), got
    one.end()


def test_return_without_memory(faulty):
    """What comes back finds no memory in the guest: the connection is lost, both ends are told."""
    for fs in make(faulty, *FILESYSTEMS[0]):
        one = SocketToFile(fs)
        take = one.command.split(";", maxsplit=1)[0]
        said = fail_for_long(fs, "guest", "vpipe_tcp_append: tcp_sendmsg_locked", take)[1]
        assert said["moved"] > LENGTH - 4096, said
        assert errno.ECONNRESET in (said["errno"], said["end"]), said
        # The source has one connection at a time: that one has ended.
        assert lines(fs.guest.run(take).out)[0]["rest"] == MORE
        one.end()


def test_attach(faulty, record_property):
    """What fails is told, at once; then the next attempt succeeds."""
    for fs in make(faulty, *FILESYSTEMS[0]):
        one = FileToFile(fs)
        guest = f"labrun {fs.guest.via}"
        for side in MODULES:
            fs.detach()
            on = guest if side == "guest" else "sh -c"
            script = ATTACH_SWEEP.format(module=MODULES[side], on=on,
                                         operation=f"{guest} {shlex.quote(one.command)}")
            runs = runs_of(fs.dom0.run(script, timeout=300).out)
            fs.attach()
            count(record_property, "attach", side, runs)
            leaks = [before.failed for before, run in itertools.pairwise(runs)
                     if run.info.get("live")]
            assert not leaks, "memory is not freed after these"
            # Where it was refused there was no transfer.
            one.judge([run for run in runs if run.lines])
            refused = {run.failed for run in runs if run.info.get("attached")}
            if side == "dom0":      # which addresses are the guest's is not left open
                assert "links_read_addresses: xenbus_read" in refused


def test_load(rig):
    """A module that cannot be loaded leaves nothing that keeps the next from it."""
    unload(rig)
    failed = [int(getattr(rig, side).run(LOAD_SWEEP.format(
        file=file(side, "-faulty"), module=MODULES[side]), timeout=60).out) for side in MODULES]
    load(rig)
    assert failed[0] >= 15 and failed[1] >= 2
