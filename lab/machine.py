"""One emulated machine: a QEMU process, all of whose doors are socket pairs."""

import contextlib
import json
import os
import pathlib
import socket
import subprocess
import threading
import time

from agent import Agent, LabError, LabTimeout

LAB = pathlib.Path(__file__).resolve().parent
SHARE = LAB.parent / "build/root/usr/share"
# Debian has moved the BIOS from one folder to the other within a release.
QEMU = [str(LAB / "inroot.sh"), "usr/bin/qemu-system-x86_64",
        "-L", str(SHARE / "qemu"), "-L", str(SHARE / "seabios")]


class Machine:
    """
    args: what makes the machine; wire: socket to the other machine's NIC;
    snapshot: folder to keep its RAM and state in; mode: None (no snapshot),
    "save" (it will be saved there) or "restore".
    """

    ARGS = ["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-S",
            "-device", "virtio-serial-pci", "-device", "virtserialport,chardev=agent,nr=1",
            "-serial", "chardev:console", "-mon", "chardev=monitor,mode=control"]

    def __init__(self, name, args, memory, wire, log, snapshot=None, mode=None):
        self.name = name
        self.snapshot, self.mode = snapshot, mode
        self.console = Console(log)
        self.monitor, monitor = socket.socketpair()
        self.port, port = socket.socketpair()
        doors = [monitor, port, self.console.remote]
        fds = [s.fileno() for s in (*doors, wire)]
        ram = "memory-backend-ram"
        if mode: # a saved machine writes to the file, a restored one copies on write
            ram = (f"memory-backend-file,mem-path={snapshot}/{name}.ram,"
                   f"share={'on' if mode == 'save' else 'off'}")
        command = [
            "setpriv", "--pdeathsig", "KILL", *QEMU, *self.ARGS,
            "-machine", "q35,memory-backend=ram", "-m", f"{memory}M",
            "-object", f"{ram},id=ram,size={memory}M", *args,
            "-chardev", f"socket,id=monitor,fd={fds[0]}",
            "-chardev", f"socket,id=agent,fd={fds[1]}",
            "-chardev", f"socket,id=console,fd={fds[2]}",
            "-netdev", f"stream,id=wire,addr.type=fd,addr.str={fds[3]}",
            *(["-incoming", "defer"] if mode == "restore" else [])]
        self.errors = log.with_suffix(".qemu")
        with open(self.errors, "wb") as errors:
            self.process = subprocess.Popen(command, pass_fds=fds, stdin=subprocess.DEVNULL,
                                            stdout=errors, stderr=errors)
        with contextlib.suppress(PermissionError):
            # Before it has threads: what else runs on the host does not make its timers late.
            os.setpriority(os.PRIO_PROCESS, self.process.pid, -10)
        for door in doors:
            door.close()
        self.agent = Agent("dom0" if name == "main" else name, self.port)

    def connect(self):
        """Wait for QEMU, begin to load the snapshot."""
        self.monitor.settimeout(30)
        self.replies = self.monitor.makefile("rb")
        self._reply()
        self.command("qmp_capabilities")
        if self.mode:
            self.command("migrate-set-capabilities", capabilities=[
                {"capability": "x-ignore-shared", "state": True}])
            self.command("migrate-set-parameters", **{"max-bandwidth": 1 << 34})
        if self.mode == "restore":
            self.command("migrate-incoming", uri=f"file:{self.snapshot}/{self.name}.state")

    def command(self, execute, **arguments):
        """One QMP command; returns what it returns."""
        request = {"execute": execute, "arguments": arguments}
        try:
            self.monitor.sendall(json.dumps(request).encode() + b"\n")
        except OSError:
            raise self._dead() from None
        while True:
            reply = self._reply()
            if "error" in reply:
                raise LabError(f"{self.name}: {execute}: {reply['error']['desc']}")
            if "return" in reply:
                return reply["return"]

    def start(self):
        self.command("cont")

    def loaded(self, timeout=60):
        """Until the snapshot is loaded."""
        self._poll(lambda: self._status("query-migrate") == "completed", timeout)

    def save(self, timeout=120):
        """Stop for good and put the state next to the RAM."""
        self.command("stop")
        self.command("migrate", uri=f"file:{self.snapshot}/{self.name}.state")
        self._poll(lambda: self._status("query-migrate") == "completed", timeout)
        self.command("quit")
        self.process.wait(timeout)

    def alive(self):
        return self.process.poll() is None

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.agent.close()
        self.monitor.close()
        self.console.close()

    def _status(self, query):
        status = self.command(query).get("status")
        if status == "failed":
            raise LabError(f"{self.name}: migration failed: {self._errors()}")
        return status

    def _poll(self, done, timeout):
        deadline = time.monotonic() + timeout
        while not done():
            if time.monotonic() > deadline:
                raise LabTimeout(f"{self.name}: {timeout} s are over")
            time.sleep(0.02)

    def _reply(self):
        try:
            line = self.replies.readline()
        except TimeoutError:
            raise LabTimeout(f"{self.name}: QEMU does not answer") from None
        except ConnectionError:
            line = b""
        if not line:
            raise self._dead()
        return json.loads(line)

    def _dead(self):
        return LabError(f"{self.name}: QEMU died: {self._errors()}")

    def _errors(self):
        return self.errors.read_text(errors="replace")[-2000:]


class Console:
    """The serial line: everything goes to a log, and to whoever listens."""

    def __init__(self, log):
        self.local, self.remote = socket.socketpair()
        self.log = open(log, "wb", buffering=0)
        self.listener = None
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def write(self, data):
        """Xen's UART drops bursts."""
        for i in range(0, len(data), 16):
            self.local.sendall(data[i:i + 16])
            time.sleep(0.015)

    def close(self):
        """To be called when the machine is dead: the rest is still read."""
        self.reader.join()
        self.local.close()

    def _read(self):
        with self.log:
            while data := self.local.recv(65536):
                self.log.write(data)
                if self.listener:
                    self.listener(data)
