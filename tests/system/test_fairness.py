"""
Domains share dom0 by weight. Bytes are compared that moved in the same stretch of time, and
in phases in which nothing begins or ends; never times.
"""

import time

import live
import pytest

from fleet import DEVICES, FILE, Fleet, Meter
from rig import PEER, lines

pytestmark = pytest.mark.long

SETTLE, STEADY = 1, 6       # seconds: before a phase counts, and of it
OFF = 0.03                  # of its share that a domain may have more or less
MB = 1000000


@pytest.fixture(scope="module")
def guests():
    """The fleet of this module, made by the first test that wants it."""
    return {}


@pytest.fixture
def fleet(lab, guests):
    if guests.get("lab") is not lab.main:
        if getattr(lab, "rig", None):
            lab.restore()
        lab.rig_broken = True       # who wants the rig makes it anew
        guests.update(fleet=Fleet(lab, 3), lab=lab.main)
    fleet = guests["fleet"]
    fleet.weights(256, 256, 256)
    yield fleet
    fleet.stop(0, 1, 2)
    for name, value in (("credit_mode", "work-conserving"), ("net_mbps", 0),
                        ("credit_period_ms", 10)):
        fleet.parameter(name, value)
    lab.rig_broken = True


def steady(fleet, length=STEADY):
    """Rates, by guest, of some time from now on."""
    meter = Meter(fleet)
    time.sleep(SETTLE)
    start = meter.now()
    time.sleep(length)
    end = meter.now()
    return meter.end().rates(start, end)


def assert_shares(rates, *weights):
    for rate, weight in zip(rates, weights, strict=True):
        share, fair = rate / sum(rates), weight / sum(weights)
        assert abs(share / fair - 1) <= OFF, (rates, weights)


def start(fleet, *connections):
    """So many of each guest; None: as many as it takes to be always busy."""
    port = fleet.sink(sum(number or 2 for number in connections))
    for guest, number in enumerate(connections):
        if number is None:
            fleet.busy(guest, port)
        elif number:
            fleet.send(guest, port, number)
    fleet.moving(*(guest for guest, number in enumerate(connections) if number != 0))


def limit_is(dom0, domid, limit, value):
    """Set one of the limits of a domain; returns when the driver has it."""
    dom0.run(f"xenstore-write backend/vpipe/{domid}/0/{limit} {value};"
             f"until [ $(cat {DEVICES}/vpipe-{domid}-0/statistics/{limit.replace('-', '_')}) ="
             f" {value} ]; do usleep 20000; done", timeout=20)


def test_weights(fleet):
    """1:1:2; then one ends, and the others have what it had."""
    fleet.weights(256, 256, 512)
    start(fleet, None, None, None)
    three = steady(fleet)
    assert_shares(three, 1, 1, 2)
    fleet.stop(2)
    two = steady(fleet)
    assert two[2] < 0.1
    assert_shares(two[:2], 1, 1)
    assert all(now > 1.15 * before for now, before in zip(two[:2], three, strict=False))
    assert fleet.stat(0, "credit_waits_total") > 0


def test_live_weight(fleet):
    """What is written to xenstore counts from then on, and back."""
    start(fleet, None, None, 0)
    for weights in (1, 1), (1, 3), (2, 1):
        fleet.weights(*(256 * weight for weight in weights), 256)
        assert_shares(steady(fleet)[:2], *weights)


@pytest.mark.parametrize("mode", live.MODES)
def test_live_weight_within_two_periods(fleet, mode):
    result = live.measure(fleet, mode, live.MODES[mode])
    assert set(result["to_weight"]) == {1, live.HEAVY}, result
    for to in result["to_weight"].values():
        assert to["changes"] >= live.CHANGES // 3 and to["delay_periods"] <= 2, result
        assert abs(to["steady_share"] / to["fair"] - 1) <= live.OFF, result


@pytest.mark.parametrize("mode", ["work-conserving", "strict"])
def test_many_operations(fleet, mode):
    """Who runs 100 operations has no more than who runs one."""
    if mode == "strict":
        fleet.parameter("net_mbps", 40)
    fleet.parameter("credit_mode", mode)
    start(fleet, 100, 1, 0)
    fleet.opened(0, 100)
    assert_shares(steady(fleet, 10)[:2], 1, 1)


def test_slow_client(fleet):
    """A domain whose client is slow pays for what it moves, and keeps nobody waiting."""
    start(fleet, 0, 1, 0)
    alone = steady(fleet)[1]
    slow, port = fleet.peer.spawn(f"exec /payload/vptest client {fleet.port + 1000} slow",
                                  stdin=None), fleet.port + 1000
    slow.wait_output('"listening"', timeout=20)
    before = fleet.stat(0, "charged_bytes_total")
    fleet.send(0, port)
    fleet.moving(0)
    rates = steady(fleet)
    assert rates[0] < 0.1 * rates[1]
    assert rates[1] > 0.5 * alone
    assert fleet.stat(0, "charged_bytes_total") - before < 64 * MB
    waits = fleet.stat(1, "credit_waits_total")
    steady(fleet, 2)
    assert fleet.stat(1, "credit_waits_total") - waits < 20
    slow.kill()


def test_little_memory(fleet):
    """What relays have on their way finds room in a small guest, each time that they end."""
    guest = fleet.guests[2]
    fleet.window(guest, 1 << 20)
    sink, source = fleet.sink(6), fleet.pour()
    for _ in range(4):
        for _ in range(6):
            guest.spawn(f"exec /payload/vptest pump relay {PEER} {source} {PEER} {sink}")
        fleet.moving(2)
        enough = fleet.stat(2, "charged_bytes_total") + 200 * MB
        charged = f"{DEVICES}/vpipe-{fleet.domids[2]}-0/statistics/charged_bytes_total"
        fleet.dom0.run(f"until [ $(cat {charged}) -gt {enough} ]; do usleep 50000; done",
                       timeout=60)
        fleet.stop(2)
    said = guest.run("dmesg | grep -i 'out of memory'", check=False).out
    assert not said, said


def test_cap(fleet):
    """In either mode; the others have the rest."""
    fleet.dom0.run(f"xenstore-write backend/vpipe/{fleet.domids[0]}/0/cap {10 * MB}")
    start(fleet, None, None, 0)
    rates = steady(fleet)
    assert abs(rates[0] / 10 - 1) < 0.1 and rates[1] > 2 * rates[0]
    fleet.dom0.run(f"xenstore-rm backend/vpipe/{fleet.domids[0]}/0/cap")
    assert_shares(steady(fleet)[:2], 1, 1)


def test_strict(fleet):
    """What is set is what is shared out, by weight; one alone has all of it."""
    fleet.parameter("net_mbps", 24)
    fleet.parameter("credit_mode", "strict")
    fleet.weights(256, 256, 512)
    start(fleet, None, None, None)
    rates = steady(fleet)
    assert_shares(rates, 1, 1, 2)
    assert abs(sum(rates) / 24 - 1) < 0.05
    fleet.stop(0, 2)
    assert abs(steady(fleet)[1] / 24 - 1) < 0.05


def test_limit_of_operations(fleet):
    """Over it the ordinary calls move what dom0 does not take, and nothing fails."""
    domid = fleet.domids[0]
    command = (f"/payload/vptest run --trust 1 --connections 4 {PEER} {fleet.sink(4)} {FILE} "
               f"pipe:0:{40 * MB}")
    for limit, copied in (1, True), (1000, False):
        limit_is(fleet.dom0, domid, "max-ops", limit)
        said = lines(fleet.guests[0].run(command, timeout=60).out)
        assert all(one["errors"] == 0 and one["offloaded"] + one["copied"] == 40 * MB
                   for one in said)
        assert any(one["copied"] for one in said) == copied
        assert any(one["offloaded"] for one in said)
    fleet.dom0.run(f"xenstore-rm backend/vpipe/{domid}/0/max-ops")


def test_operations(fleet):
    """Who runs what is listed; and what is cancelled ends, and its program is told so."""
    port = fleet.sink(1)
    job = fleet.guests[0].spawn(f"/payload/vptest run --trust 1 {PEER} {port} {FILE} pipe:0:all")
    fleet.moving(0)
    domid = fleet.domids[0]
    listed = f"/sys/kernel/debug/vpipe-back/{domid}-0/operations"
    names, *rows = (line.split(" ") for line in fleet.dom0.run(f"cat {listed}").out.splitlines())
    rows = [dict(zip(names, row, strict=True)) for row in rows]
    assert {row["kind"] for row in rows} == {"file-to-socket"}
    assert {row["source"] for row in rows} == {"disk:51760"}
    assert {row["sink"] for row in rows} == {f"{PEER}:{port}"}
    assert all(int(row["moved"]) <= int(row["length"]) for row in rows)
    queue, flow = rows[0]["queue"], rows[0]["flow"]
    device = f"{DEVICES}/vpipe-{domid}-0"
    before = fleet.stat(0, "detaches_total")
    fleet.dom0.run(f"echo {queue} {flow} >{device}/cancel;"
                   f"until [ $(cat {device}/statistics/detaches_total) -gt {before} ];"
                   " do usleep 20000; done", timeout=20)
    said = lines(job.wait(timeout=30, check=True).out)[0]
    assert not said["copied"] and 0 < said["offloaded"] < 1400 << 20, said
    for wrong in "", "7", "0 99999", "99 0":
        assert fleet.dom0.run(f"echo {wrong} >{device}/cancel", check=False).rc
    assert fleet.dom0.run("cat /sys/kernel/debug/vpipe-back/capacity").out.startswith("disk ")


def test_regular(fleet):
    """What goes by blkback and netback counts, and leaves less for what vPipe moves."""
    device = fleet.stat

    def grown(action):
        before = [device(0, "regular_bytes_total"), device(0, "charged_bytes_total")]
        action()
        return [device(0, name) - was
                for name, was in zip(("regular_bytes_total", "charged_bytes_total"), before,
                                     strict=True)]

    def read_disk():
        fleet.guests[0].run("dd if=/dev/xvdd of=/dev/null bs=1M count=64 iflag=direct 2>/dev/null;"
                            "usleep 500000", timeout=60)

    def transfer():
        start(fleet, 1, 0, 0)
        steady(fleet, 1)
        fleet.stop(0)

    regular, charged = grown(read_disk)
    assert 64 << 20 <= regular <= 72 << 20 and abs(charged - regular) < 1 << 20
    regular, charged = grown(transfer)
    assert regular < charged / 10, "what vPipe moves is counted once"
    fleet.parameter("account_frontends", "N")
    fleet.dom0.run("usleep 500000")
    regular, _ = grown(read_disk)
    fleet.parameter("account_frontends", "Y")
    assert regular == 0
    start(fleet, None, None, 0)
    reader = fleet.guests[0].spawn("while :; do dd if=/dev/xvdd of=/dev/null bs=1M count=64"
                                   " iflag=direct 2>/dev/null; done", stdin=None)
    regular, charged = grown(lambda: steady(fleet))
    other = steady(fleet)[1] * (SETTLE + STEADY) * MB
    reader.kill()
    fleet.guests[0].run("killall dd", check=False)
    assert regular > 0 and charged - regular < 0.85 * other, (regular, charged, other)
