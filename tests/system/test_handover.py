"""
A connection goes to dom0 and comes back, often: over paths of all sorts each byte arrives,
once, in order, in both directions (the pattern; see vptest talk); over a path that loses
nothing, nothing is sent twice and nothing waits for a round trip.
"""

import contextlib

import pytest

from demo import set_mtu
from net import Counts, Talk, captured, faithful_nics, no_probes, path, start_talk
from pipes import MIB
from rig import GUEST, GUEST6, PEER, PEER6, lines

long = pytest.mark.long


@pytest.fixture(params=[PEER, PEER6], ids=["IPv4", "IPv6"])
def either(rig, request):
    """The rig, with a peer that is talked to by one family or the other."""
    rig.address = request.param
    yield rig
    rig.address = PEER


COUNT = 110         # hand-overs of each connection of the matrix
# The peer sends all the time, as much as is read: some more is on its way at any moment.
SIZES = {"send": 1000, "recv": 300, "pipe": 12345, "pull": 4096, "relay": 7000}


def file_for(rig, length=8 * MIB):
    return rig.read_only(length)


# Each of the roles, with both directions in use: steps, options of the peers and of talk


def as_sink(count=COUNT):
    """The file goes to the socket, while the peer sends."""
    return {"steps": f"send:{SIZES['send']} pipe:{SIZES['pipe']} recv:{SIZES['recv']} drain",
            "repeat": count, "peer": "--send all --pace 700:3000"}


def as_source(count=COUNT):
    """From the socket to a file, with as much in flight as the window allows."""
    one = SIZES["pull"] + SIZES["recv"]
    return {"steps": f"send:{SIZES['send']} pull:{SIZES['pull']} recv:{SIZES['recv']}",
            "repeat": count, "peer": f"--send {count * one + 5000}",
            "options": "--scratch /mnt/scratch"}


def as_both(count=COUNT):
    """From one socket to another; the ends talk the other way as well."""
    one = SIZES["relay"] + SIZES["recv"]
    return {"steps": f"relay:{SIZES['relay']} pass:{SIZES['recv']} send:100 b.drain",
            "repeat": count, "peer": f"--send {count * one}",
            "second": "--send all --pace 300:3000"}


def all_offloaded(result):
    assert result.sum["copied"] == 0, result.sum
    return result


def test_quick(either):
    """Each role, over a path as good as it gets."""
    file = file_for(either)
    counts = Counts(either)
    for role in as_sink, as_source, as_both:
        all_offloaded(Talk(either, file, **role(20)).result())
    assert counts.end().hand_overs() >= 20 * 4


def test_quick_bad_path(rig):
    """All roles at once, over a path that loses and reorders."""
    file = file_for(rig)
    with path(rig, delay=1, loss=1, reorder=1):
        for talk in [Talk(rig, file, **role(20)) for role in (as_sink, as_source, as_both)]:
            all_offloaded(talk.result())


def test_window_stands(rig):
    """What the peer was promised room for is taken, whoever has the connection by then."""
    file = file_for(rig)
    with path(rig, 20):
        counts = Counts(rig)
        all_offloaded(Talk(rig, file, **as_source(150)).result())
        grown = counts.end().grown
    # A probe for a tail that was not lost is not what this is about.
    lost = {name: grown[host][name] for host, name in
            (("peer", "TCPFastRetrans"), ("peer", "TCPSlowStartRetrans"), ("guest", "TCPOFOQueue"))}
    assert not any(lost.values()), counts


@long
@pytest.mark.parametrize("reorder", [0, 1], ids="reorder{}".format)
@pytest.mark.parametrize("loss", [0, 0.1, 1], ids="loss{}".format)
@pytest.mark.parametrize("delay", [0, 1, 20], ids="{}ms".format)
def test_matrix(either, delay, loss, reorder):
    """At once, because most of the time they wait."""
    file = file_for(either)
    counts = Counts(either)
    with path(either, delay, loss, reorder), captured(either, f"matrix-{delay}-{loss}-{reorder}"):
        talks = [Talk(either, file, **role()) for role in (as_sink, as_source, as_both)]
        for talk in talks:
            all_offloaded(talk.result(timeout=200))
    counts.end()
    print(f"delay {delay}, loss {loss}, reorder {reorder}: {counts}")
    assert counts.hand_overs() >= 4 * 100


# Nothing lost: nothing sent again


@contextlib.contextmanager
def lossless(rig, name, delay, least):
    """In this block nothing is lost, sent twice or dropped; at least so many hand-overs."""
    results = []
    with path(rig, delay), faithful_nics(rig), no_probes(rig), captured(rig, name):
        counts = Counts(rig)
        yield results
        counts.end()
    print(f"{name}: {counts}")
    again = [result.retransmitted() for result in results if result.retransmitted()]
    assert counts.hand_overs() >= least, counts
    assert not again and not counts.losses(), f"{again} {counts.losses()}; all: {counts}"


@contextlib.contextmanager
def small_window(rig):
    setting = "/proc/sys/net/ipv4/tcp_rmem"
    usual = rig.guest.run(f"cat {setting}").out.strip()
    rig.guest.run(f"echo 4096 131072 262144 >{setting}")
    try:
        yield
    finally:
        rig.guest.run(f"echo {usual} >{setting}")


rtts = pytest.mark.parametrize("delay", [0, 20], ids="{}ms".format)
roles = pytest.mark.parametrize("role", [as_sink, as_source, as_both], ids=lambda r: r.__name__)


@long
@rtts
@roles
def test_nothing_sent_again(either, delay, role):
    """1,000 hand-overs while both ends send."""
    file = file_for(either, 24 * MIB)
    name = f"again-{role.__name__}-{delay}"
    with lossless(either, name, delay, 1000) as results:
        results.append(all_offloaded(Talk(either, file, **role(1050)).result(timeout=400)))


@long
@rtts
def test_path_loses_nothing(rig, delay):
    """The same by ordinary calls: what is seen here is the lab's own doing."""
    talk = as_sink(1050)
    talk["steps"] = talk["steps"].replace("pipe:", "file:")
    with lossless(rig, f"control-{delay}", delay, 0) as results:
        results.append(Talk(rig, file_for(rig, 24 * MIB), **talk).result(timeout=400))


@long
@rtts
def test_several_send_nothing_again(rig, delay):
    """Four connections at once: dom0 and guest are busy with others meanwhile."""
    file = file_for(rig, 24 * MIB)
    with lossless(rig, f"several-{delay}", delay, 1000) as results:
        talks = [Talk(rig, file, **role(260)) for role in (as_sink, as_source) * 2]
        results += [all_offloaded(talk.result(timeout=400)) for talk in talks]


@long
@rtts
def test_closing_window(either, delay):
    """The peer's window closes and opens again and again: nothing is sent in vain."""
    file = file_for(either, 64 * MIB)
    talk = {"steps": "send:1000 pipe:40000 recv:300 drain", "repeat": 1050,
            "peer": "--send all --pace 700:3000 --rcvbuf 16384 --stall 60000:8000"}
    with lossless(either, f"window-{delay}", delay, 1000) as results:
        results.append(all_offloaded(Talk(either, file, **talk).result(timeout=500)))


@long
@rtts
def test_closing_own_window(either, delay):
    """
    The guest reads less than the peer would send: its own window is shut most times.  It is
    small enough for the queue of a vif (512 KiB), of which netback drops what is beyond, also
    without vPipe.
    """
    file = file_for(either)
    talk = {**as_source(1050), "peer": "--send all"}
    with small_window(either), lossless(either, f"own-window-{delay}", delay, 1000) as results:
        results.append(all_offloaded(Talk(either, file, **talk).result(timeout=500)))


# Nothing waits for a round trip


def cost(rig, file, one, rounds, delay, pause=""):
    """
    Of the same conversation in turn without and with a hand-over and return in it: the
    medians of both, in ms, as (ordinary, handed over).
    """
    size, answer = 2 * SIZES["send"] + 4096, 200
    ordinary, other = f"send:4096 send:{SIZES['send']}", f"{one} send:{SIZES['send']}"
    steps = " ".join(f"send:{SIZES['send']} {what} recv:{answer} lap {pause}"
                     for what in (ordinary, other))
    with path(rig, delay):
        talk = Talk(rig, file, steps, rounds, f"--answer {size}:{answer}", options="--nodelay 1")
        result = all_offloaded(talk.result(timeout=300))
    print({name: line["median"] for name, line in result.times.items()})
    return result.times["lap"]["median"] / 1000, result.times["lap#2"]["median"] / 1000


@long
def test_no_round_trip(either):
    """A small transfer costs less than 5 ms beyond the wire time, there and back."""
    file = file_for(either)
    cost(either, file, "pipe:4096", 20, 0)      # everything once
    ordinary, handed = cost(either, file, "pipe:4096", 100, 20)
    assert ordinary >= 20, "there is no delay"
    assert handed - ordinary < 5, f"ordinary {ordinary} ms, with a hand-over {handed} ms"


@long
def test_no_round_trip_receiving(either):
    """The same when the request is received by a transfer."""
    size, count = 4096, 100
    steps = " ".join(f"send:500 {what}:{size} send:500 recv:{size} lap"
                     for what in ("recv", "pull"))
    with path(either, 20):
        talk = Talk(either, file_for(either), steps, count, f"--answer 500:{size}",
                    options="--nodelay 1 --scratch /mnt/scratch")
        result = all_offloaded(talk.result(timeout=300))
    ordinary, pulled = (result.times[name]["median"] / 1000 for name in ("lap", "lap#2"))
    # A write to disk, and the reading of it, are in it.
    assert ordinary >= 40 and pulled - ordinary < 10, (ordinary, pulled, result.times)


@long
@rtts
def test_in_a_row(rig, delay):
    """1,000 transfers with nothing in between: the connection goes there once."""
    file = file_for(rig)
    with lossless(rig, f"row-{delay}", delay, 1) as results:
        counts = Counts(rig)
        results.append(all_offloaded(Talk(rig, file, "pipe:4000", 1000).result()))
        assert counts.end().hand_overs() == 1, counts


# Where sequence numbers begin anew

WRAP = 1 << 32


def forged(rig, file, snd, rcv, steps, peer="--send all --pace 700:2000", repeat=1):
    """A talk whose directions begin at these sequence numbers."""
    port = rig.next_port()
    guest = GUEST if rig.address == PEER else GUEST6
    job = rig.peer.spawn(f"exec /payload/vptest duplex {peer} --forge {guest},{rcv},{snd} {port}",
                         stdin=None)
    job.wait_output('"listening"', timeout=20)
    # A connection that begins without a handshake may know no next hop yet.
    rig.guest.run(f"ping -c 1 -W 5 {rig.address}")
    talk = start_talk(rig, file, steps, port, f"--repeat {repeat} --forge {snd}:{rcv}"
                                               " --scratch /mnt/scratch")
    said = lines(talk.wait(timeout=60, check=True).out)
    got = lines(job.wait(timeout=60, check=True).out)[-1]
    sent, total = said[0], said[1]
    assert (sent["sent"], sent["received"]) == (got["received"], got["sent"])
    assert sent["errors"] == got["errors"] == total["copied"] == 0, (said, got)
    return total["offloaded"]


# How far before the wrap a direction begins: at each border of the steps below, and inside
OUT_STEPS = "send:1000 pipe:5000 recv:100 drain"
BORDERS = [0, 1, 999, 1000, 1001, 3500, 5999, 6000, 6001, 6999, 7000, 7001]


@long
@pytest.mark.parametrize("where", [WRAP, 1 << 31], ids=["wrap", "sign"])
def test_wrap_sending(either, where):
    """What is sent passes 2^32 (and 2^31) before, in, right behind and after a hand-over."""
    file = file_for(either)
    for before in BORDERS:
        assert forged(either, file, (where - before) % WRAP, 12345, OUT_STEPS, repeat=3) == 15000


@long
@pytest.mark.parametrize("where", [WRAP, 1 << 31], ids=["wrap", "sign"])
def test_wrap_receiving(either, where):
    """The same for what is received."""
    file = file_for(either)
    for before in 0, 1, 299, 300, 301, 4000, 4395, 4396, 4397, 4696, 8000:
        assert forged(either, file, 54321, (where - before) % WRAP, "send:10 recv:300 pull:4096",
                      "--send 13188", repeat=3) == 3 * 4096


@long
def test_wraps_both_ways(either):
    """Both directions at once, in one long conversation with transfers both ways."""
    file = file_for(either)
    steps = "send:1000 pipe:20000 recv:500 pull:8192 send:1 recv:1"
    done = forged(either, file, WRAP - 300000, WRAP - 130000, steps, f"--send {40 * 8693 + 3000}",
                  repeat=40)
    assert done == 40 * (20000 + 8192)


@long
def test_more_than_4_gib(either):
    """An honest one: 2^32 bytes go by, with hand-overs on both sides of the wrap."""
    size = 48 * MIB
    file = file_for(either, 64 * MIB)
    # The emulated peer is soon busy with small frames; dom0's network card receives no others.
    set_mtu(either.lab, 9000)
    route = ("ip -6 route replace 2001:db8::/64 dev eth0 metric 1" if either.address == PEER6 else
             "ip route change 198.18.0.0/24 dev eth0 src 198.18.0.2")
    either.guest.run(f"{route} advmss 1428")
    try:
        talk = Talk(either, file, f"send:10007 pipe:{size} recv:1000 drain", 88,
                    f"--send all --pace 1000:5000 --period {64 * MIB}",
                    options=f"--period {64 * MIB}")
        result = talk.result(timeout=300)
    finally:
        either.guest.run(route.replace("replace", "del"))
        set_mtu(either.lab, 1500)
    assert result.streams[0]["sent"] == 88 * (size + 10007) > WRAP
    assert result.sum["offloaded"] == 88 * size and result.sum["copied"] == 0


@long
def test_more_than_4_gib_received(either):
    """The same for what comes: into a file of the guest's, and to the program, in turns."""
    size, times = 16 * MIB, 257
    file = file_for(either)
    talk = Talk(either, file, f"send:1000 pull:{size} recv:10007", times,
                f"--send {times * (size + 10007)} --period {64 * MIB}",
                options=f"--period {64 * MIB} --scratch /mnt/scratch")
    result = talk.result(timeout=500)
    assert result.streams[0]["received"] == times * (size + 10007) > WRAP
    assert (result.sum["offloaded"], result.sum["copied"]) == (times * size, 0), result.sum
