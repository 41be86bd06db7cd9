"""
A peer that does what a script says (vptest tcppeer), also what no TCP would do, at each
moment of a hand-over. Each test runs the ordinary way too, which says what is right.
"""

import json

import pytest

from net import STATS, start_talk
from rig import lines

pytestmark = pytest.mark.long

ADDRESS = "198.18.0.77"     # nobody's
HEAD, BODY, TAIL, BACK = 1000, 100000, 500, 2000
MIDDLE, END = HEAD + BODY // 2, HEAD + BODY
TOTAL = END + TAIL
OPEN = 1 << 40

ways = pytest.mark.parametrize("way", ["file", "pipe"])
# When: before the transfer; as it begins; dom0 has the connection, and waits for the window;
# as it ends; when the call has returned; when the program has touched the socket.
MOMENTS = ["before", "freeze", "offloaded", "end", "idle", "home"]
moments = pytest.mark.parametrize("moment", MOMENTS)


class Scripted:
    """A guest's program that talks to a scripted peer."""

    def __init__(self, rig, steps, script=(), options=""):
        self.rig, self.waits, self.said_fin = rig, 0, False
        self.peer = rig.peer.spawn(f"exec /payload/vptest tcppeer eth0 {ADDRESS}", stdin=None)
        self.peer.wait_output('"listening"', timeout=20)
        self.do(*script)
        self.guest = start_talk(rig, rig.read_only(8 << 20), steps, 7, options, host=ADDRESS)

    def do(self, *script):
        self.said_fin |= any(line.endswith("fin") for line in script)
        for line in script:
            self.peer.write(line.encode() + b"\n")

    def until(self, pattern):
        self.peer.wait_output(pattern, timeout=30)

    def answered(self, *script):
        """Do that, which must be answered by an acknowledgement."""
        before = self.acks()
        self.do(*script)
        self.until(r'("flags":"A"(.|\n)*){%d}' % (before + 1))

    def acks(self):
        return bytes(self.peer.stdout).decode().count('"flags":"A"')

    def at_wait(self):
        """False when it has ended before, as it does after an error."""
        found = self.guest.wait_output('"wait":%d}|"done"' % self.waits, timeout=30)
        self.waits += 1
        return "wait" in found[0]

    def go(self):
        self.guest.write(b"go\n")

    def offloaded(self):
        self.rig.dom0.run(f"until [ $(cat {STATS}/flows) -ge 1 ]; do usleep 10000; done",
                          timeout=20)

    def end(self):
        """What the guest's program says, and the peer."""
        if not self.said_fin:
            self.do("fin")
        said = lines(self.guest.wait(timeout=60, check=True).out)
        stream, total = [line for line in said if "wait" not in line][:2]
        self.do("stop")
        told = lines(self.peer.wait(timeout=20, check=True).out)
        self.rig.settle()
        return stream, total, told[-1], told


def check_moved(way, total, least=BODY):
    if way == "pipe":
        assert total["offloaded"] >= least and total["copied"] == 0, total


def check_peer(peer):
    """What must be true of every connection that was not reset."""
    assert (peer["received"], peer["fin"], peer["acked"]) == (TOTAL, 1, peer["sent"]), peer
    assert peer["gaps"] == peer["ts_back"] == peer["ack_back"] == peer["edge_back"] == 0, peer


def converse(rig, way, moment, *event, answered=False):
    """The same conversation, with the event at that moment."""
    script = [f"at {HEAD} data {BACK}"]
    if moment == "freeze":
        script += [f"at {HEAD} {line}" for line in event]
    elif moment == "offloaded":
        script += [f"limit {MIDDLE}", f"at {MIDDLE} ack"]
    elif moment == "end":
        script += [f"at {END} {line}" for line in event]
    first = "" if moment == "freeze" else "wait"
    talk = Scripted(rig, f"send:{HEAD} recv:{BACK} {first} {way}:{BODY} wait poll wait send:{TAIL}",
                    script)

    def happen():
        (talk.answered if answered else talk.do)(*event)

    if moment != "freeze":
        talk.at_wait()
        if moment == "before":
            happen()
        talk.go()
    if moment == "offloaded":
        talk.until(r'"at":%d}' % MIDDLE)
        happen()
        talk.do(f"limit {OPEN}")
    for now in "idle", "home":
        if not talk.at_wait():
            break
        if moment == "end":
            talk.until(r'"at":%d}' % END)
        if moment == now:
            happen()
        talk.go()
    talk.said_fin |= any(line.endswith("fin") for line in event)
    return talk.end()


@moments
@ways
def test_nothing_special(rig, way, moment):
    """Data of the peer at that moment."""
    stream, total, peer, _ = converse(rig, way, moment, "data 3000")
    assert (stream["sent"], stream["received"], stream["errors"]) == (TOTAL, BACK + 3000, 0)
    check_moved(way, total)
    check_peer(peer)


@moments
@ways
def test_fin(rig, way, moment):
    stream, total, peer, _ = converse(rig, way, moment, "data 3000", "fin")
    assert (stream["sent"], stream["received"], stream["errors"]) == (TOTAL, BACK + 3000, 0)
    assert stream["eof"] == 1
    check_moved(way, total)
    check_peer(peer)


@moments
@ways
def test_reset(rig, way, moment):
    stream, _, _, told = converse(rig, way, moment, "seg R 0 0 0")
    assert stream["errors"] >= 1 and stream["errno"] in (32, 104), stream
    assert stream["received"] == BACK and stream["sent"] <= TOTAL
    # Whoever has it then knows that it has gone: no more than what was on its way comes.
    assert len(told) < 60, told


def harmless(rig, way, moment, event, answered):
    steady = moment not in ("freeze", "end")
    stream, total, peer, _ = converse(rig, way, moment, event, answered=answered and steady)
    assert (stream["sent"], stream["received"], stream["errors"]) == (TOTAL, BACK, 0), stream
    check_moved(way, total)
    check_peer(peer)


# What RFC 5961 and others want ignored, or answered by an acknowledgement
HARMLESS = {
    "reset-outside": ("seg R 5000000 0 0", False),
    "reset-inside": ("seg R 100 0 0", True),
    "syn": ("seg S 0 0 0", True),
    "syn-outside": ("seg S 9000000 0 0", True),
    "old-data": ("seg PA -500 0 500", True),
    "data-outside": ("seg PA 30000000 0 500", True),
    "old-ack": ("seg A 0 -900 0", False),
    "ack-of-the-future": ("seg A 0 5000000 0", False),
}


@moments
@ways
@pytest.mark.parametrize("what", HARMLESS)
def test_harmless(rig, what, way, moment):
    harmless(rig, way, moment, *HARMLESS[what])


@ways
@pytest.mark.parametrize("how, syscall", [("recv", 45), ("pollin", 7), ("epoll", 232)],
                         ids=["recv", "poll", "epoll"])
def test_wakes_up(rig, way, how, syscall):
    """The call has returned, the program sleeps until there is something, which then comes."""
    how = f"recv:{BACK}" if how == "recv" else f"{how} recv:{BACK}"
    talk = Scripted(rig, f"send:{HEAD} {way}:{BODY} {how} send:{TAIL}")
    rig.guest.run(f"until grep -qs '^{syscall} ' /proc/$(pidof vptest)/syscall;"
                  " do usleep 10000; done", timeout=20)
    talk.do(f"data {BACK}")
    stream, total, peer, _ = talk.end()
    assert (stream["sent"], stream["received"], stream["errors"]) == (TOTAL, BACK, 0), stream
    check_moved(way, total)
    check_peer(peer)


@ways
@pytest.mark.parametrize("unread", [False, True], ids=["read", "unread"])
def test_killed_when_idle(rig, way, unread):
    """The program goes after the call: the end of the stream, or a RST when it has not read."""
    talk = Scripted(rig, f"send:{HEAD} {way}:{BODY} wait")
    talk.at_wait()
    if unread:
        talk.answered("data 3000")
    rig.guest.run("killall -9 vptest")
    talk.guest.wait(timeout=20)
    talk.until(r'"flags":"%s' % ("R" if unread else "FP?A"))
    talk.do("seg R 0 0 0" if unread else "fin", "stop")
    peer = lines(talk.peer.wait(timeout=20, check=True).out)[-1]
    assert (peer["received"], peer["fin"], peer["gaps"]) == (END, not unread, 0)
    rig.settle()


@ways
@pytest.mark.parametrize("limit", [HEAD, HEAD + 1, MIDDLE, END - 1, END, END + 1])
def test_zero_window(rig, way, limit):
    """It closes there; a probe comes, it is told that it is closed; then it opens."""
    talk = Scripted(rig, f"send:{HEAD} {way}:{BODY} poll send:{TAIL}", [f"limit {limit}"])
    talk.until(r'"seq":%d,' % (limit - 1))
    talk.do(f"limit {OPEN}")
    stream, total, peer, _ = talk.end()
    assert (stream["sent"], stream["errors"]) == (TOTAL, 0)
    check_moved(way, total)
    check_peer(peer)


@ways
@pytest.mark.parametrize("hole", [0, HEAD - 500, HEAD, HEAD + 7000, MIDDLE, END - 8000])
def test_reneging(rig, way, hole):
    """What the peer said it had got it has not."""
    talk = Scripted(rig, f"send:{HEAD} {way}:{BODY} send:{TAIL} recv:{BACK}",
                    [f"hole {hole} 2", f"at {HEAD} data {BACK}"])
    stream, total, peer, _ = talk.end()
    assert (stream["sent"], stream["received"], stream["errors"]) == (TOTAL, BACK, 0)
    assert peer["again"] > 0
    check_moved(way, total)
    check_peer(peer)


# The guest's socket as source

PULL = 40960
pulls = pytest.mark.parametrize("way", ["recv", "pull"])


def pulled(rig, way, *event, before=False, rest=PULL // 2):
    """Half of what is wanted has come and dom0 has the connection: the event, then the rest."""
    talk = Scripted(rig, f"send:{HEAD} wait {way}:{PULL} wait poll wait send:{TAIL}",
                    options="--scratch /mnt/scratch")
    talk.at_wait()
    talk.answered(f"data {PULL // 2}")
    if before:
        talk.do(*event)
    talk.go()
    if way == "pull" and not (before and event):
        talk.offloaded()
    if not before:
        talk.do(*event)
    if rest:
        talk.do(f"data {rest}")
        for _ in range(2):
            talk.at_wait()
            talk.go()
    return talk.end()


@pulls
@pytest.mark.parametrize("what", HARMLESS)
def test_pull_harmless(rig, what, way):
    event, _ = HARMLESS[what]
    stream, total, peer, _ = pulled(rig, way, event)
    assert (stream["sent"], stream["received"], stream["errors"]) == (HEAD + TAIL, PULL, 0)
    assert way == "recv" or total["offloaded"] == PULL
    assert (peer["received"], peer["acked"]) == (HEAD + TAIL, PULL), json.dumps(peer)
    assert peer["ts_back"] == peer["ack_back"] == peer["edge_back"] == 0, peer


@pulls
@pytest.mark.parametrize("before", [False, True], ids=["offloaded", "before"])
@pytest.mark.parametrize("event", ["fin", "seg R 0 0 0"], ids=["fin", "reset"])
def test_pull_ends_early(rig, way, event, before):
    """What had come is there, and then the end, or the error."""
    stream, _, _, _ = pulled(rig, way, event, before=before, rest=0)
    assert stream["received"] == PULL // 2
    if event == "fin":
        assert (stream["eof"], stream["errors"]) == (1, 0)
    else:
        assert stream["errno"] == 104
