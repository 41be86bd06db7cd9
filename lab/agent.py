"""Commands on a machine of the lab, through its labd (labproto.h)."""

import itertools
import re
import shlex
import socket
import struct
import threading
import time
from collections import namedtuple

RUN, STDIN, KILL, STDOUT, STDERR, EXIT = range(1, 7)
HEADER = struct.Struct("<IHH")
CHUNK = 16384


class LabError(Exception):
    """The lab itself, or a command that had to succeed, failed."""


class LabTimeout(LabError):
    """Something took longer than it was allowed to."""


Result = namedtuple("Result", "out err rc")


class Process:
    """A running command: one channel of an agent."""

    def __init__(self, agent, chan, command):
        self.agent, self.chan, self.command = agent, chan, command
        self.stdout, self.stderr, self.rc = bytearray(), bytearray(), None
        self.lost = None  # why no more will come

    def write(self, data):
        """Bytes for its stdin."""
        for i in range(0, len(data), CHUNK):
            self.agent.send(self.chan, STDIN, data[i:i + CHUNK])

    def close_stdin(self):
        self.agent.send(self.chan, STDIN)

    def kill(self):
        """SIGKILL to its process group; wait() tells when it is dead."""
        if self.rc is None:
            self.agent.send(self.chan, KILL)

    def done(self):
        return self.rc is not None

    def wait(self, timeout=60, check=False):
        """Until it ends; a command that is late is killed."""
        if not self._wait_for(lambda: self.rc is not None, timeout):
            self.kill()
            raise LabTimeout(f"{timeout} s are over: {self._story()}")
        if check and self.rc:
            raise LabError(f"exit status {self.rc}: {self._story()}")
        return self.result()

    def wait_output(self, pattern, timeout=60):
        """Until its stdout or stderr matches; returns the match."""
        def find():
            return next((m for m in (re.search(pattern, _text(b))
                                     for b in (self.stdout, self.stderr)) if m), None)
        if not self._wait_for(lambda: find() or self.rc is not None, timeout):
            raise LabTimeout(f"no {pattern!r} in {timeout} s: {self._story()}")
        match = find()
        if not match:
            raise LabError(f"ended without {pattern!r}: {self._story()}")
        return match

    def result(self):
        return Result(_text(self.stdout), _text(self.stderr), self.rc)

    def _wait_for(self, done, timeout):
        with self.agent.changed:
            self.agent.changed.wait_for(lambda: done() or self.lost, timeout)
            if done():
                return True
            if self.lost:
                raise LabError(f"{self.lost}: {self._story()}")
            return False

    def _story(self):
        return (f"{self.agent.name}$ {self.command}\n"
                f"{_text(self.stdout[-4000:])}{_text(self.stderr[-4000:])}")


class Agent:
    """The labd at the other end of a stream socket."""

    def __init__(self, name, sock):
        self.name, self.sock = name, sock
        self.changed = threading.Condition()
        self.sending = threading.Lock()
        self.processes, self.chans, self.lost = {}, itertools.count(1), None
        threading.Thread(target=self._receive, daemon=True).start()

    def spawn(self, command, stdin=b""):
        """Start a command. stdin: all of its input; None: write() follows."""
        if len(command.encode()) >= 32768:
            raise LabError("command too long: use write_file")
        with self.changed:
            if self.lost:
                raise LabError(f"{self.lost}: {self.name}$ {command}")
            process = Process(self, next(self.chans), command)
            self.processes[process.chan] = process
        self.send(process.chan, RUN, command.encode())
        if stdin is not None:
            process.write(stdin)
            process.close_stdin()
        return process

    def ping(self, timeout):
        """Until the agent answers: it may not have been started yet."""
        deadline = time.monotonic() + timeout
        while True:
            try:
                return self.spawn("true").wait(min(timeout, 1))
            except LabTimeout:
                if time.monotonic() > deadline:
                    raise

    def send(self, chan, kind, data=b""):
        with self.sending:
            try:
                self.sock.sendall(HEADER.pack(chan, kind, len(data)) + data)
            except OSError:
                pass  # _receive says so

    def _receive(self):
        stream = self.sock.makefile("rb")
        try:
            while header := stream.read(HEADER.size):
                chan, kind, size = HEADER.unpack(header)
                data = stream.read(size)
                with self.changed:
                    self._handle(chan, kind, data)
                    self.changed.notify_all()
        except (OSError, struct.error):
            pass
        with self.changed:
            self.lost = f"{self.name} is gone"
            for process in self.processes.values():
                process.lost = self.lost
            self.changed.notify_all()

    def _handle(self, chan, kind, data):
        process = self.processes.get(chan)
        if not process:
            return
        if kind == STDOUT:
            process.stdout += data
        elif kind == STDERR:
            process.stderr += data
        elif kind == EXIT:
            process.rc, = struct.unpack("<I", data)
            del self.processes[chan]

    def close(self):
        try:
            self.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.sock.close()


class Host:
    """
    A machine to run commands on: by its own agent, or through another's (via: its address
    there; netns: it is only a network namespace there).
    """

    def __init__(self, name, agent, via=None, netns=None):
        self.name, self.agent, self.via, self.netns = name, agent, via, netns

    def spawn(self, command, stdin=b""):
        if self.via:
            command = f"exec labrun {self.via} {shlex.quote(command)}"
        if self.netns:      # as another machine: nothing of it is preempted by that
            command = f"exec ip netns exec {self.netns} chrt -b 0 sh -c {shlex.quote(command)}"
        return self.agent.spawn(command, stdin)

    def run(self, command, timeout=60, check=True, stdin=b""):
        """Run to the end: Result(out, err, rc)."""
        return self.spawn(command, stdin).wait(timeout, check)

    def read_file(self, path, timeout=60):
        process = self.spawn(f"cat {shlex.quote(path)}")
        process.wait(timeout, check=True)
        return bytes(process.stdout)

    def write_file(self, path, data, mode=0o644, timeout=60):
        q = shlex.quote(path)
        data = data.encode() if isinstance(data, str) else data
        self.run(f"cat >{q} && chmod {mode:o} {q}", timeout, stdin=data)


def _text(data):
    return bytes(data).decode(errors="replace")
