"""The lab itself."""

import re
import time

import pytest

from agent import LabError, LabTimeout


def test_hypervisor(lab):
    assert re.match(r"4\.", lab.dom0.run("xl info xen_version").out)
    domains = lab.dom0.run("xl list").out
    assert "Domain-0" in domains and "guest" in domains
    assert lab.dom0.run("xenstore-read /local/domain/0/name").out == "Domain-0\n"


@pytest.mark.parametrize("name", ["dom0", "guest", "peer"])
def test_command(lab, name):
    host = getattr(lab, name)
    result = host.run("cat; echo out; echo err >&2; exit 3", check=False, stdin=b"in\n")
    assert result == ("in\nout\n", "err\n", 3)
    with pytest.raises(LabError, match="exit status 1"):
        host.run("false")


@pytest.mark.parametrize("name", ["dom0", "guest", "peer"])
def test_files(lab, name):
    host, data = getattr(lab, name), bytes(range(256)) * 1000
    host.write_file("/tmp/file", data)
    assert host.read_file("/tmp/file") == data


def test_network(lab):
    for host in (lab.dom0, lab.guest, lab.peer):
        for address in ("198.18.0.1", "198.18.0.2", "198.18.0.10"):
            host.run(f"ping -c 1 -W 5 {address}")


def test_concurrent_commands(lab):
    hosts = [lab.dom0, lab.guest, lab.peer]
    start = time.monotonic()
    jobs = [host.spawn(f"sleep 1; exit {i}") for i in range(5) for host in hosts]
    assert [job.wait(20).rc for job in jobs] == [i for i in range(5) for _ in hosts]
    assert time.monotonic() - start < 10


@pytest.mark.parametrize("name", ["dom0", "guest", "peer"])
def test_late_command_is_killed(lab, name):
    host = getattr(lab, name)
    with pytest.raises(LabTimeout):
        host.run("echo begun; sleep 4242", timeout=1)
    host.run("while ps | grep -v grep | grep -q 'sleep 4242'; do usleep 50000; done", timeout=10)


def test_payload(lab):
    for host in (lab.dom0, lab.guest, lab.peer):
        host.run("test -d /payload")


@pytest.mark.parametrize("name", ["dom0", "guest", "peer"])
def test_bad_line_is_found_once(lab, name):
    assert lab.check_logs() == []
    getattr(lab, name).run("echo 'WARNING: test' >/dev/kmsg")
    deadline = time.monotonic() + 5
    while not (bad := lab.check_logs()) and time.monotonic() < deadline:
        pass
    assert len(bad) == 1 and "WARNING: test" in bad[0]
    assert lab.check_logs() == []


def test_guest_panic_is_found(lab):
    lab.rig_broken = True       # whoever needs a guest restores the lab
    lab.guest.spawn("echo c >/proc/sysrq-trigger")
    lab.dom0.run("while xl domid guest; do usleep 100000; done", timeout=30)
    assert any("Kernel panic" in line for line in lab.check_logs())
