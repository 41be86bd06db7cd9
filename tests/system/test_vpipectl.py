"""The person who runs the domains: vpipectl's commands, and its daemon."""

import contextlib
import json
import time

import pytest

from net import Talk
from pipes import MIB
from rig import lines
from test_faults import start, works
from test_network import PLUGGED, as_sink, file_for, on_peer, plug, reached, unplug

CTL = "/payload/vpipectl"
NODES = "/local/domain/0/backend/vpipe"
SYSFS = "/sys/bus/xen-backend/devices"


def ctl(rig, args, rc=0, timeout=60):
    """What it says on stdout."""
    got = rig.dom0.run(f"{CTL} {args}", timeout=timeout, check=False)
    assert got.rc == rc, (args, got)
    assert (got.err != "") == (rc != 0), (args, got)
    return got.out


def ctl_json(rig, args):
    return json.loads(ctl(rig, f"--json {args}"))


def domid(rig, name="guest"):
    return int(rig.dom0.run(f"xl domid {name}").out)


def node(rig, name, dom="guest"):
    """A node of the backend's directory; None: there is none."""
    got = rig.dom0.run(f"xenstore-read {NODES}/{domid(rig, dom)}/0/{name}", check=False)
    return None if got.rc else got.out.strip()


def again(rig):
    """Without what a test has set."""
    rig.detach()
    rig.attach()


# The commands


def test_exit_codes(rig):
    for args, rc in [
            ("", 2), ("frob", 2), ("list guest", 2), ("attach", 2), ("weight guest", 2),
            ("weight guest 0", 2), ("weight guest 65536", 2), ("cap guest 1.5M", 2),
            ("cap guest -1", 2), ("cancel guest 7", 2), ("cancel guest 1:2:3", 2),
            ("attach --weight 0 guest", 2), ("attach --cap fast guest", 2),
            ("--json attach guest", 2), ("list --once", 2), ("top --interval 0", 2),
            ("stats a b", 2), ("--timeout x attach guest", 2), ("daemon --weight 3", 2),
            ("attach nobody", 3), ("detach nobody", 3), ("show nobody", 3),
            ("weight nobody 5", 3), ("cap 4711 5", 3), ("stats 4711", 3), ("show 4711", 3),
            ("cancel 4711", 3), ("calibrate 4711", 3), ("update 4711", 3), ("detach 4711", 3),
            ("attach guest", 4), ("show 0", 4), ("weight 0 5", 4), ("stats 0", 4),
            ("update 0", 4), ("daemon --policy /nowhere", 1)]:
        ctl(rig, args, rc)
    for args in "--help", "--version", "list", "show guest", "stats", "stats guest", "calibrate":
        assert ctl(rig, args)
    rig.dom0.run("rm -f /tmp/policy; printf 'a\\nb weight=0\\n' >/tmp/policy")
    got = rig.dom0.run(f"{CTL} daemon --policy /tmp/policy", check=False)
    assert got.rc == 1 and "line 2: 'weight=0'" in got.err


def test_json(rig):
    dom = domid(rig)
    [one] = ctl_json(rig, "list")
    assert (one["domid"], one["name"], one["alive"]) == (dom, "guest", True)
    assert one["backend_state"] == one["frontend_state"] == "Connected"
    assert one["queues"] >= 1 and one["network_status"] == "connected"
    assert one["share"] == dict.fromkeys(("weight", "cap", "max-ops", "max-chunks", "max-held"))
    shown = ctl_json(rig, "show guest")
    assert shown["vifs"] == [0] and shown["domid"] == dom
    assert shown["operations"] in (None, [])
    before = ctl_json(rig, "stats guest")[0]["statistics"]["bytes_total"]
    works(rig, rig.read_only(4 * MIB))
    [stats] = ctl_json(rig, "stats")
    assert stats["domid"] == dom and stats["statistics"]["bytes_total"] == before + 1000000
    assert ctl_json(rig, "show guest")["bytes_total"] == before + 1000000
    assert ctl_json(rig, "calibrate").keys() == {"disk", "net"}
    text = ctl(rig, "list").splitlines()
    assert len(text) == 2 and text[1].split()[:3] == [str(dom), "guest", "Connected"]


def test_weight_and_cap(rig):
    """They are in xenstore at once, where the backend looks and the guest cannot write."""
    ctl(rig, "weight guest 512")
    ctl(rig, "cap guest 20M")
    assert (node(rig, "weight"), node(rig, "cap")) == ("512", "20000000")
    [one] = ctl_json(rig, "list")
    assert (one["share"]["weight"], one["share"]["cap"]) == (512, 20000000)
    assert ctl(rig, "list").split()[-2:] == ["512", "20.0M"]
    ctl(rig, "cap guest none")
    assert node(rig, "cap") is None
    rig.detach()
    ctl(rig, "weight guest 3", rc=4)
    assert node(rig, "weight") is None
    ctl(rig, "attach --weight 7 --cap 1G --max-ops 9 --max-chunks 8 --max-held 7 guest")
    assert [node(rig, name) for name in ("weight", "cap", "max-ops", "max-chunks", "max-held")] \
        == ["7", "1000000000", "9", "8", "7"]
    again(rig)
    works(rig, rig.read_only(4 * MIB))


def test_top(rig):
    """What is under way, for scripts and as text."""
    _, port = rig.sink()
    sending = rig.guest.spawn(f"/payload/vptest run 198.18.0.10 {port}"
                              f" {rig.read_only(64 * MIB)} pipe:0:all")
    said = [json.loads(line) for line in
            ctl(rig, "top --json --interval 0.5 --once").splitlines()]
    [one] = said[0]["domains"]
    assert one["domid"] == domid(rig) and 400 <= said[0]["interval_ms"] < 5000
    assert one["rate"] >= 0 and one["bytes_total"] >= 0
    for op in one["operations"] or []:
        assert op["kind"] == "file-to-socket" and op["moved"] <= op["length"]
        assert op["sink"] == f"198.18.0.10:{port}" and op["source"].startswith("disk:")
    sending.wait(timeout=60, check=True)
    text = ctl(rig, "top --once --interval 0.1").splitlines()
    assert text[0].startswith("1 domains attached") and text[2].split()[1] == "guest"
    # Goes on until it is told to end.
    top = rig.dom0.spawn(f"{CTL} top --json --interval 0.1 & for i in 1 2 3; do read line; done <&0;"
                         " kill $!; wait $!", stdin=None)
    top.wait_output(r"(?s)domains.*\n.*domains.*\n.*domains", timeout=20)
    top.write(b"1\n2\n3\n")
    for line in top.wait(timeout=20).out.splitlines():
        json.loads(line)


def test_top_on_a_screen(rig):
    """On dom0's console, as somebody would who sits there."""
    said = bytearray()
    console = rig.lab.main.console
    console.listener = said.extend

    def wait_for(what):
        end = time.monotonic() + 30
        while what not in said:
            assert time.monotonic() < end, bytes(said)
            time.sleep(0.05)
        said.clear()

    try:
        console.write(b"TERM=vt100 /payload/vpipectl top; echo left:$?\r")
        wait_for(b"domains attached")
        console.write(b"q")
        wait_for(b"left:0")
        console.write(b"TERM=nothing /payload/vpipectl top; echo left:$?\r")
        wait_for(b"left:1")
    finally:
        console.listener = None


def test_cancel(rig):
    if rig.dom0.run(f"[ -e {SYSFS}/vpipe-{domid(rig)}-0/cancel ]", check=False).rc:
        ctl(rig, "cancel guest 0:0", rc=1)
        pytest.skip("this backend cannot cancel")
    assert ctl_json(rig, "cancel guest") == {"domid": domid(rig), "cancelled": 0}
    ctl(rig, "cancel guest 0:4095", rc=4)
    client, job = start(rig, rig.read_only(64 * MIB), "stall", after=3 * MIB)
    assert ctl_json(rig, "cancel guest")["cancelled"] >= 1
    client.write(b"on\n")
    sent = lines(job.wait(timeout=120).out)[0]
    got = lines(client.wait(timeout=30, check=True).out)[-1]
    assert sent["sha256"] == got["sha256"] and sent["offloaded"] < 64 * MIB


def test_attach_was_killed(rig):
    """In the middle, with its device half made: the next one begins anew."""
    rig.detach()
    dom = domid(rig)
    rig.dom0.run(
        f"b={NODES}/{dom}/0 f=/local/domain/{dom}/device/vpipe/0;"
        f"xenstore-write $f/backend $b $f/backend-id 0 $f/state 1"
        f" $b/frontend $f $b/frontend-id {dom} $b/online 1 $b/state 1 &&"
        f"until [ \"$(xenstore-read $b/network-status)\" = waiting ]; do usleep 20000; done",
        timeout=20)
    assert ctl_json(rig, "list")[0]["network_status"] == "waiting"
    rig.attach()
    works(rig, rig.read_only(4 * MIB))


# The daemon


class Daemon:
    def __init__(self, rig, policy):
        self.rig = rig
        self.write(policy)
        self.start()

    def write(self, policy):
        self.rig.dom0.write_file("/tmp/policy", policy)

    def start(self):
        self.job = self.rig.dom0.spawn(
            f"echo pid:$$; exec {CTL} daemon --policy /tmp/policy", stdin=None)
        self.job.wait_output(r"(?m)^ready$", timeout=20)
        self.pid = self.job.wait_output(r"pid:(\d+)").group(1)

    def signal(self, name):
        self.rig.dom0.run(f"kill -{name} {self.pid}")

    def stop(self, name="TERM"):
        self.signal(name)
        got = self.job.wait(timeout=60)
        assert got.rc == (0 if name != "KILL" else -9 if got.rc < 0 else 137), got
        return got


@contextlib.contextmanager
def daemon(rig, policy):
    one = Daemon(rig, policy)
    try:
        yield one
    finally:
        if not one.job.done():
            one.stop()


def wait_left(rig, dom, there):
    """Until dom0 has a device for the domain; or nothing at all of it."""
    what = f"[ -e {SYSFS}/vpipe-{dom}-0 ]"
    nodes = f"xenstore-exists {NODES}/{dom}"
    rig.dom0.run(f"until {what} && {nodes}; do usleep 50000; done" if there else
                 f"while {what} || {nodes}; do usleep 50000; done", timeout=40)


def new_guest(rig, wait=True, **config):
    """guest2, beside the one that is there."""
    guest = rig.lab.create_guest("guest2", data="/dev/ram1", memory=256, wait=wait, **config)
    return guest, domid(rig, "guest2")


def test_daemon_attaches_and_cleans_up(rig):
    """A domain that the policy names, when it is created and when it is destroyed."""
    with daemon(rig, "guest3 never\nguest[23] weight=300 cap=50M max-ops=77\n"):
        guest, dom = new_guest(rig)
        rig.load(guest)
        wait_left(rig, dom, True)
        rig.wait_connected("guest2")
        assert [node(rig, name, "guest2") for name in ("weight", "cap", "max-ops")] == \
            ["300", "50000000", "77"]
        # It works, for the new domain's vif: its own port is the only difference.
        sink, port = rig.sink()
        sent = lines(guest.run("mkfs.ext4 -q -F -E nodiscard /dev/xvdc && mkdir -p /mnt &&"
                               " mount /dev/xvdc /mnt && /payload/vptest fill /mnt/f 0 5000000 &&"
                               f" sync && /payload/vptest run 198.18.0.10 {port} /mnt/f pipe:0:all",
                               timeout=120).out)[-1]
        got = lines(sink.wait(timeout=60, check=True).out)
        assert sent["offloaded"] == 5000000 and sent["sha256"] in [g.get("sha256") for g in got]
        rig.lab.destroy_guest("guest2")
        wait_left(rig, dom, False)
        # The other one was not asked about.
        assert [one["name"] for one in ctl_json(rig, "list")] == ["guest"]
        works(rig, rig.read_only(4 * MIB))


def test_daemon_was_not_there(rig):
    """A domain goes, and one comes, while no daemon runs: the next one sees to both."""
    one = Daemon(rig, "guest2\n")
    _, dom = new_guest(rig, wait=False)
    wait_left(rig, dom, True)
    one.stop("KILL")
    rig.lab.destroy_guest("guest2")
    rig.dom0.run(f"while [ -e /sys/bus/xen-backend/devices/vpipe-{dom}-0 ]; do usleep 50000; done",
                 timeout=20)
    assert not rig.dom0.run(f"xenstore-exists {NODES}/{dom}", check=False).rc
    _, dom2 = new_guest(rig, wait=False)
    one.start()
    wait_left(rig, dom, False)
    wait_left(rig, dom2, True)
    rig.lab.destroy_guest("guest2")
    wait_left(rig, dom2, False)
    one.stop("INT")


def test_daemon_restarts_in_the_middle(rig):
    """A transfer is under way: it does not notice."""
    file = rig.read_only(64 * MIB)
    with daemon(rig, "guest\n") as one:
        client, job = start(rig, file, "stall", after=3 * MIB)
        state = rig.dom0.run(f"xenstore-ls {NODES}").out
        for how in "TERM", "KILL", "INT":
            one.stop(how)
            one.start()
        client.write(b"on\n")
        one.stop()
        one.start()
        sent = lines(job.wait(timeout=60, check=True).out)[0]
        got = lines(client.wait(timeout=30, check=True).out)[-1]
        assert sent["sha256"] == got["sha256"] == rig.pattern_hash(64 * MIB)
        assert sent["offloaded"] == 64 * MIB and sent["copied"] == 0
        assert rig.dom0.run(f"xenstore-ls {NODES}").out == state


def test_daemon_and_those_who_know_better(rig):
    """By hand, by xenstore and by another policy; each after the daemon's first look."""
    dom = domid(rig)
    wish = f"/local/domain/{dom}/vpipe"
    with daemon(rig, "guest weight=5\n") as one:
        other = rig.dom0.run(f"{CTL} daemon", check=False)
        assert other.rc == 1 and "another" in other.err
        rig.detach()
        # Its first look is over when it says so, and it waits for its children.
        one.stop()
        one.start()
        one.stop()
        assert node(rig, "state") is None
        one.start()
        rig.dom0.run(f"xenstore-write {wish}/weight 9 {wish}/cap 3M {wish}/attach 1")
        wait_left(rig, dom, True)
        rig.wait_connected()
        assert (node(rig, "weight"), node(rig, "cap")) == ("9", "3000000")
        rig.dom0.run(f"xenstore-rm {wish}/weight {wish}/cap")

        rig.detach()
        rig.attach()
        rig.detach()
        rig.dom0.run(f"xenstore-rm {wish}")
        wait_left(rig, dom, True)
        assert node(rig, "weight") == "5"
        rig.detach()

        one.write("guest never\nguest2 weight=none\n")
        one.signal("HUP")
        one.job.wait_output("line 2: 'weight=none'", timeout=20)
        one.write("guest never\n")
        one.signal("HUP")
        one.job.wait_output("read again", timeout=20)
        rig.dom0.run(f"xenstore-rm {wish}")
        one.stop()
        one.start()
        one.stop()
        assert node(rig, "state") is None
        one.start()
        one.write("uuid:*-*-*-*-* weight=6\n")
        one.signal("HUP")
        wait_left(rig, dom, True)
        rig.wait_connected()
        assert node(rig, "weight") == "6"
    again(rig)


def test_daemon_and_vifs(rig):
    """One that is plugged in, once and again, is served; without one there is no attach."""
    rig.guest.run("sysctl -w net.ipv4.conf.all.arp_ignore=1")
    with on_peer(rig), daemon(rig, "guest\n") as one:
        for _ in range(2):
            plug(rig, "xenbr0")
            one.job.wait_output(r"(?s)vif 1 is served" + r".*vif 1 is served" * _, timeout=30)
            assert ctl_json(rig, "show guest")["vifs"] == [0, 1]
            with reached(rig, "198.19.0.10"):
                talk = Talk(rig, file_for(rig), **as_sink(8 * MIB))
                said = talk.result(timeout=90).sum
                assert (said["offloaded"], said["copied"]) == (8 * MIB, 0), said
            works(rig, rig.read_only(4 * MIB))
            unplug(rig)
            assert ctl_json(rig, "show guest")["vifs"] == [0]
        # By hand there is nothing to be done.
        assert "no vif that is new" in ctl(rig, "update guest")
        works(rig, rig.read_only(4 * MIB))
    again(rig)


@pytest.mark.long
def test_daemon_create_and_destroy(rig):
    """A hundred domains, one after the other, while another one transfers."""
    file = rig.read_only(64 * MIB)
    counts = rig.quiet_counts()
    with daemon(rig, "guest2\n"):
        sink, port = rig.sink()
        job = rig.guest.spawn(f"/payload/vptest run --repeat 1000 198.18.0.10 {port} {file}"
                              " pipe:0:all", stdin=None)
        rig.lab.dom0.write_file("/etc/xen/guest2.cfg", rig.lab._guest_config(
            "guest2", "198.18.0.3", data="/dev/ram1", memory=128))
        for _ in range(100):
            rig.dom0.run("xl create -p /etc/xen/guest2.cfg", timeout=60)
            dom = domid(rig, "guest2")
            wait_left(rig, dom, True)
            rig.lab.destroy_guest("guest2")
            wait_left(rig, dom, False)
        assert not job.done()
        rig.guest.run("killall -9 vptest")
        job.wait(timeout=20)
        sink.kill()
    rig.no_flows()
    end = time.monotonic() + 30
    while (now := rig.counts()) != counts:
        assert time.monotonic() < end, (now, counts)


@pytest.mark.long
def test_daemon_and_restore(rig):
    """A domain that is restored is another one for Xen: attached anew, the old one forgotten."""
    with daemon(rig, "guest weight=8\n"):
        old = domid(rig)
        rig.dom0.run("xl save guest /tmp/saved && xl restore /tmp/saved && rm /tmp/saved",
                     timeout=180)
        new = domid(rig)
        assert new != old
        wait_left(rig, old, False)
        wait_left(rig, new, True)
        rig.dom0.run(f"until labrun {rig.guest.via} true; do usleep 100000; done", timeout=60)
        rig.wait_connected()
        assert node(rig, "weight") == "8"
        works(rig, rig.read_only(4 * MIB))
    again(rig)
