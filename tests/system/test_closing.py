"""
How connections end that dom0 has: closed by the program, by its peer, by both, by neither.
What the guest's kernel keeps of them is what it keeps of any; a scripted peer (vptest
tcppeer) does not acknowledge, sends what nobody wants any more, or vanishes. Each test runs
the ordinary way too, which says what is right.
"""

import pytest

from rig import GUEST, PEER, PEER6, lines
from test_scripted import ADDRESS, BACK, BODY, HEAD, OPEN, PULL, Scripted, pulls, ways

pytestmark = pytest.mark.long

END = HEAD + BODY
FIN, RST = r'"flags":"FP?A"', r'"flags":"RA?"'
# The time in which dom0 waits for the acknowledgement of its FIN is over, or is not.
lates = pytest.mark.parametrize("late", [False, True], ids=["early", "late"])
seconds = pytest.mark.parametrize("second", [False, True], ids=["first", "second"])


class Closing(Scripted):
    """
    The program sends a file; the call returns, and then it does what `steps` say. `whole`: by
    then the peer has got all.
    """

    def __init__(self, rig, way, steps="close", script=(), before="", body=BODY, whole=True,
                 options="--unwatched 1"):
        self.way, self.end = way, HEAD + (body if way in ("file", "pipe") else 0)
        self.whole = whole
        super().__init__(rig, f"send:{HEAD} {before} {way}:{body} wait {steps} wait",
                         [*script, *([f"at {self.end} ack"] if whole else [])], options)
        self.port = self.peer.wait_output(r'"port":(\d+)', timeout=30)[1]

    def attached(self):
        """The call has returned, and dom0 has the connection."""
        self.at_wait()
        if self.whole:
            self.until(r'"at":%d}' % self.end)
        if self.way in ("pipe", "pull"):
            self.offloaded()

    def home(self):
        if self.way in ("pipe", "pull"):
            self.rig.no_flows()

    def state(self, want=""):
        """Wait until the guest's kernel has it in that state, or not at all."""
        self.rig.guest.run(f"until [ \"$(ss -tanH dst {ADDRESS} and sport = :{self.port}"
                           f" | cut -d ' ' -f 1)\" = '{want}' ]; do usleep 20000; done",
                           timeout=20)

    def fin_first(self):
        """The peer closes, which is known at the other end."""
        self.do("fin")
        self.until('"fin_acked"')

    def data_first(self):
        """The peer has sent something."""
        self.do("data 3000", "acked 3000 ack")
        self.until('"acked":3000')

    def told(self):
        return lines(bytes(self.peer.stdout).decode().rpartition("\n")[0])

    def flags(self, flag):
        return [line for line in self.told() if flag in line.get("flags", "")]

    def ended(self, state="", go=True, stop=("stop",)):
        """What both ends say, when all is over and the guest's kernel has it in that state."""
        if go:
            self.go()
        said = lines(self.guest.wait(timeout=60).out)
        self.do(*stop)
        peer = lines(self.peer.wait(timeout=20, check=True).out)[-1]
        self.rig.settle()
        self.state(state)
        return next((line for line in said if "sent" in line), None), peer


def check(talk, peer, fins=1):
    """The peer has got all, and the end once."""
    assert (peer["received"], peer["fin"], peer["acked"]) == (talk.end, 1, peer["sent"]), peer
    assert peer["gaps"] == peer["ts_back"] == peer["ack_back"] == peer["edge_back"] == 0, peer
    seen = talk.flags("F")
    assert {line["seq"] + line["len"] for line in seen} == {talk.end}, seen
    assert not fins or len(seen) == fins, seen
    assert not talk.flags("R")


def leave(rig, talk, how):
    """The program ends its connection."""
    if how == "kill":
        rig.guest.run("killall -9 vptest")
    else:
        talk.go()


# Both ends do as they should


@ways
@pytest.mark.parametrize("how", ["close", "exit", "kill"])
def test_closes_first(rig, way, how):
    talk = Closing(rig, way, "" if how == "kill" else how)
    talk.attached()
    leave(rig, talk, how)
    talk.until(FIN)
    talk.state("FIN-WAIT-2")
    talk.do("fin")
    talk.state("TIME-WAIT")
    _, peer = talk.ended("TIME-WAIT", how == "close")
    check(talk, peer)


@ways
@pytest.mark.parametrize("how", ["close", "exit", "kill"])
@pytest.mark.parametrize("before", ["wait drain", "wait", ""],
                         ids=["before, read", "before", "attached"])
def test_closes_second(rig, way, how, before):
    """The peer has closed before: before the transfer, and the program knows or not; after it."""
    talk = Closing(rig, way, "" if how == "kill" else how, before=before)
    if before:
        talk.at_wait()
        talk.fin_first()
        talk.go()
    talk.attached()
    if not before:
        talk.fin_first()
    leave(rig, talk, how)
    talk.until(FIN)
    _, peer = talk.ended("", how == "close")
    check(talk, peer)


@ways
@pytest.mark.parametrize("address", [PEER, PEER6], ids=["ipv4", "ipv6"])
def test_closes_real(rig, way, address):
    """A peer that closes when it has got all."""
    sink, port = rig.sink()
    file = rig.read_only(8 << 20)
    rig.guest.run(f"/payload/vptest talk --unwatched 1 {address} {port} {file} {way}:{BODY} close")
    got = lines(sink.wait(timeout=30, check=True).out)[-1]
    assert (got["bytes"], got["sha256"]) == (BODY, rig.pattern_hash(BODY))
    rig.settle()
    state = rig.guest.run(f"ss -tanH dport = :{port}").out.split()
    assert state[:1] == ["TIME-WAIT"], state


@pulls
@lates
@pytest.mark.parametrize("what", ["first", "second", "unread"])
def test_closes_source(rig, way, what, late):
    """After it was received from; all of it, or not."""
    talk = Closing(rig, way, script=[f"at {HEAD} data {PULL}"], body=PULL,
                   options="--unwatched 1 --scratch /mnt/scratch")
    talk.attached()
    if what == "second":
        talk.do("fin")
        talk.until(r'"ack":%d,' % (PULL + 1))
    elif what == "unread":
        talk.do("data 3000")
        talk.until(r'"ack":%d,' % (PULL + 3000))
    if late:
        talk.do("ignore all")
    talk.go()
    talk.until(RST if what == "unread" else FIN)
    if late:
        talk.home()
        talk.do("ignore none")
    if what == "first":
        talk.state("FIN-WAIT-2")
        talk.do("fin")
    last = "TIME-WAIT" if what == "first" else ""
    talk.state(last)
    _, peer = talk.ended(last)
    if what == "unread":
        assert (peer["received"], peer["fin"]) == (HEAD, 0)
    else:
        check(talk, peer, fins=0 if late else 1)


# The peer does not acknowledge


def acknowledges_again(talk, second, *script):
    talk.do(*script)
    talk.until(FIN)
    if not second:
        talk.state("FIN-WAIT-2")
        talk.do("fin")
    last = "" if second else "TIME-WAIT"
    talk.state(last)
    _, peer = talk.ended(last)
    check(talk, peer, fins=0)


@ways
@lates
@seconds
@pytest.mark.parametrize("what", ["fin", "all"])
def test_fin_not_acknowledged(rig, way, what, second, late):
    talk = Closing(rig, way)
    talk.attached()
    if second:
        talk.fin_first()
    talk.do(f"ignore {what}")
    talk.go()
    talk.until(FIN)
    if late:
        talk.home()
        talk.state("LAST-ACK" if second else "FIN-WAIT-1")
    acknowledges_again(talk, second, "ignore none")


@ways
@lates
@seconds
@pytest.mark.parametrize("what", ["deaf", "closed"])
def test_data_not_acknowledged(rig, way, what, second, late):
    """The FIN is behind data that is not acknowledged, or cannot be sent."""
    talk = Closing(rig, way, body=20000, whole=False, script=[
        f"at {HEAD} ignore all" if what == "deaf" else f"limit {HEAD + 2000}"])
    talk.attached()
    if second:
        talk.fin_first()
    talk.go()
    if late:
        talk.home()
        talk.state("LAST-ACK" if second else "FIN-WAIT-1")
    acknowledges_again(talk, second, "ignore none" if what == "deaf" else f"limit {OPEN}")


@ways
@seconds
def test_never_acknowledged(rig, way, second):
    """The guest's kernel goes on."""
    talk = Closing(rig, way)
    talk.attached()
    if second:
        talk.fin_first()
    talk.do("ignore all")
    talk.go()
    talk.until(FIN)
    talk.home()
    talk.state("LAST-ACK" if second else "FIN-WAIT-1")
    seen = len(talk.flags("F"))
    talk.until(r'("flags":"F(.|\n)*){%d}' % (seen + 2))
    talk.do("seg R 0 0 0")
    talk.state()
    talk.ended()


@ways
@lates
def test_simultaneous(rig, way, late):
    """The peer's FIN crosses the other one."""
    talk = Closing(rig, way)
    talk.attached()
    talk.do("ignore fin")
    talk.go()
    talk.until(FIN)
    talk.fin_first()
    if late:
        talk.home()
    if late or way == "file":
        talk.state("CLOSING")
    talk.do("ignore none")
    talk.state("TIME-WAIT")
    _, peer = talk.ended("TIME-WAIT")
    check(talk, peer, fins=0)


# The peer does not know that nobody listens


def go_to(talk, state, late):
    """The program closes, and the connection gets into that state."""
    if state == "LAST-ACK":
        talk.fin_first()
    if state not in ("FIN-WAIT-2", "TIME-WAIT"):
        talk.do("ignore fin")
    talk.go()
    talk.until(FIN)
    if state == "CLOSING":
        talk.fin_first()
    if state == "TIME-WAIT":
        talk.state("FIN-WAIT-2")
        talk.do("fin")
    if late:
        talk.home()
        talk.state(state)


@ways
@pytest.mark.parametrize("state, late", [("FIN-WAIT-1", False), ("FIN-WAIT-1", True),
                                         ("FIN-WAIT-2", True)])
def test_data_after(rig, way, state, late):
    """It is told."""
    talk = Closing(rig, way)
    talk.attached()
    go_to(talk, state, late)
    talk.do("data 3000")
    talk.until(RST)
    talk.state()
    _, peer = talk.ended()
    assert peer["received"] == talk.end


@ways
@pytest.mark.parametrize("state, late", [
    ("FIN-WAIT-1", False), ("FIN-WAIT-1", True), ("FIN-WAIT-2", True), ("CLOSING", False),
    ("CLOSING", True), ("TIME-WAIT", True), ("LAST-ACK", False), ("LAST-ACK", True)])
def test_reset(rig, way, state, late):
    talk = Closing(rig, way)
    talk.attached()
    go_to(talk, state, late)
    talk.do("seg R 0 0 0")
    talk.state()
    talk.ended()


# The program does not just close


@ways
@pytest.mark.parametrize("when", ["before", "attached"])
@pytest.mark.parametrize("how", ["close", "exit", "kill"])
def test_unread(rig, way, how, when):
    """What the peer has sent was not read: it is told, by a RST."""
    talk = Closing(rig, way, "" if how == "kill" else how, before="wait")
    talk.at_wait()
    if when == "before":
        talk.data_first()
    talk.go()
    talk.attached()
    if when == "attached":
        talk.data_first()
    leave(rig, talk, how)
    talk.until(RST)
    _, peer = talk.ended("", how == "close")
    assert (peer["received"], peer["fin"]) == (talk.end, 0)


@ways
@pytest.mark.parametrize("how", ["close", "exit", "kill"])
def test_linger_not(rig, way, how):
    """SO_LINGER of 0 s: a RST."""
    talk = Closing(rig, way, "" if how == "kill" else how, before="linger:0")
    talk.attached()
    leave(rig, talk, how)
    talk.until(RST)
    _, peer = talk.ended("", how == "close")
    assert (peer["received"], peer["fin"]) == (talk.end, 0)


@ways
def test_reset_by_linger(rig, way):
    """The same, set when dom0 has it: that alone does not bring it home."""
    talk = Closing(rig, way, "linger:0 wait close")
    talk.attached()
    talk.go()
    talk.attached()
    talk.go()
    talk.until(RST)
    _, peer = talk.ended()
    assert (peer["received"], peer["fin"]) == (talk.end, 0)


def in_close(rig):
    rig.guest.run("until grep -qs '^3 ' /proc/$(pidof vptest)/syscall; do usleep 10000; done",
                  timeout=20)


@ways
def test_linger(rig, way):
    """close() waits for the acknowledgement."""
    talk = Closing(rig, way, before="linger:20")
    talk.attached()
    talk.do("ignore fin")
    talk.go()
    talk.until(FIN)
    in_close(rig)
    talk.home()
    talk.do("ignore none")
    talk.at_wait()
    talk.state("FIN-WAIT-2")
    talk.do("fin")
    talk.state("TIME-WAIT")
    _, peer = talk.ended("TIME-WAIT")
    check(talk, peer, fins=0)


@ways
def test_linger_in_vain(rig, way):
    """... no longer than it shall."""
    talk = Closing(rig, way, before="linger:1")
    talk.attached()
    talk.do("ignore fin")
    talk.go()
    talk.at_wait()
    talk.state("FIN-WAIT-1")
    acknowledges_again(talk, False, "ignore none")


@ways
def test_child(rig, way):
    """No FIN as long as a child has the descriptor."""
    talk = Closing(rig, way, "fork close wait reap")
    talk.attached()
    talk.go()
    talk.at_wait()
    talk.answered("seg A -1 0 0")
    assert not talk.flags("F")
    talk.go()
    talk.until(FIN)
    talk.state("FIN-WAIT-2")
    talk.do("fin")
    talk.state("TIME-WAIT")
    _, peer = talk.ended("TIME-WAIT")
    check(talk, peer)


@ways
@pytest.mark.parametrize("how", ["shutw", "shutr"])
def test_shutdown(rig, way, how):
    """... and then read to the end."""
    talk = Closing(rig, way, how)
    talk.attached()
    talk.go()
    talk.at_wait()
    if how == "shutw":
        talk.until(FIN)
    talk.data_first()
    if how == "shutw":
        talk.do("fin")
        talk.state("TIME-WAIT")
    else:
        talk.go()
        talk.until(FIN)
        talk.do("fin")
        talk.state("TIME-WAIT")
    stream, peer = talk.ended("TIME-WAIT", how == "shutw")
    assert (stream["received"], stream["eof"]) == (3000, 1), stream
    assert stream["errno"] == (107 if how == "shutw" else 0)    # of the second shutdown()
    check(talk, peer)


# What comes to one that has ended


def in_time_wait(talk):
    talk.attached()
    talk.go()
    talk.until(FIN)
    talk.state("FIN-WAIT-2")
    talk.do("fin")
    talk.state("TIME-WAIT")


@ways
@pytest.mark.parametrize("event", ["seg FA -1 0 0", "seg PA -500 0 499", "seg PA 100 0 100",
                                   "seg FA 1000 0 0", "seg SA -9000 0 0"])
def test_time_wait(rig, way, event):
    """Old duplicates, and what no peer would send: an acknowledgement."""
    talk = Closing(rig, way, script=[f"at {HEAD} data {BACK}"], before=f"recv:{BACK}")
    in_time_wait(talk)
    talk.answered(event)
    last = talk.flags("A")[-1]
    assert (last["seq"], last["ack"]) == (talk.end + 1, BACK + 1)
    _, peer = talk.ended("TIME-WAIT")
    check(talk, peer)


@ways
def test_fin_again(rig, way):
    """At once, before anybody may know that all has ended."""
    talk = Closing(rig, way)
    talk.attached()
    talk.do("ignore fin")
    talk.go()
    talk.until(FIN)
    talk.do("ignore none", "fin", *["seg FA -1 0 0"] * 20)
    talk.state("TIME-WAIT")
    _, peer = talk.ended("TIME-WAIT")
    check(talk, peer, fins=0)


@ways
@pytest.mark.parametrize("seq, stamps, good", [
    (100000, 1, True), (100000, 0, True), (-100000, 1, True), (-100000, 0, False)])
def test_port_reused(rig, way, seq, stamps, good):
    """A new connection from the same port, while the guest waits (RFC 6191)."""
    talk = Scripted(rig, f"send:{HEAD} {way}:{BODY} close", options="--listen 2 --unwatched 1")
    talk.guest.wait_output('"listening"', timeout=20)
    port = rig.next_port()
    talk.do(f"stamps {stamps}", f"connect {GUEST} 7 {port}")
    talk.until(FIN)
    talk.do("fin")
    state = (f"until [ \"$(ss -tanH dst {ADDRESS} and dport = :{port} | cut -d ' ' -f 1)\" ="
             " TIME-WAIT ]; do usleep 20000; done")
    rig.guest.run(state, timeout=20)
    if not good:
        talk.answered(f"reopen {seq}")
        rig.guest.run("killall -9 vptest")
        talk.guest.wait(timeout=20)
    else:
        talk.do(f"reopen {seq}")
        talk.until(r'%s(.|\n)*%s' % (FIN, FIN))
        talk.do("fin")
        talk.guest.wait(timeout=20, check=True)
    rig.guest.run(state, timeout=20)
    talk.do(*([] if good else ["seg R 0 0 0"]), "stop")
    peer = lines(talk.peer.wait(timeout=20, check=True).out)[-1]
    assert not good or (peer["received"], peer["fin"]) == (HEAD + BODY, 1), peer
    rig.settle()


# The peer is silent


@ways
def test_keepalive(rig, way):
    """Probes are answered: nothing happens."""
    talk = Closing(rig, way, before="keep:1:1:3")
    talk.attached()
    talk.until(r'("flags":"A","seq":%d,(.|\n)*){2}' % (talk.end - 1))
    if way == "pipe":
        talk.offloaded()
    talk.go()
    talk.until(FIN)
    talk.state("FIN-WAIT-2")
    talk.do("fin")
    stream, peer = talk.ended("TIME-WAIT")
    assert stream["errors"] == 0
    check(talk, peer)


@ways
@pytest.mark.parametrize("sleeps", [False, True], ids=["later", "sleeps"])
def test_keepalive_dead(rig, way, sleeps):
    """They are not: the program is told when it looks, or is woken."""
    talk = Closing(rig, way, "epoll recv:1" if sleeps else "recv:1", before="keep:1:1:2",
                   options="" if sleeps else "--unwatched 1")
    talk.attached()
    talk.do("ignore all")
    if sleeps:
        talk.go()
    talk.until(RST)
    stream, _ = talk.ended("", not sleeps)
    assert (stream["errno"], stream["received"]) == (110, 0), stream


@ways
def test_user_timeout(rig, way):
    """Data is not acknowledged for longer than the program wants to wait."""
    talk = Closing(rig, way, "epoll recv:1", before="timeout:3000", body=20000, whole=False,
                   script=[f"at {HEAD} ignore all"], options="")
    talk.attached()
    stream, _ = talk.ended(stop=["seg R 0 0 0", "stop"])    # nothing has told it
    assert (stream["errno"], stream["received"]) == (110, 0), stream


# A FIN that comes before the data in front of it


@ways
@pytest.mark.parametrize("more", [0, 2000])
@pytest.mark.parametrize("moment", ["before", "attached", "home"])
def test_fin_beyond_gap(rig, way, moment, more):
    """... and what is missing comes later: after the hand-over, there, or back here."""
    talk = Closing(rig, way, "poll", before="wait")
    event = ["lose 3000", *([f"data {more}"] if more else []), "fin"]
    talk.at_wait()
    if moment == "before":
        talk.answered(*event)
    talk.go()
    talk.attached()
    if moment != "before":
        talk.answered(*event)
    if moment != "home":
        talk.do("resend")
        talk.until('"fin_acked"')
    talk.go()
    talk.at_wait()
    if moment == "home":
        talk.do("resend")
        talk.until('"fin_acked"')
    stream, peer = talk.ended()
    assert (stream["received"], stream["eof"], stream["errors"]) == (3000 + more, 1, 0), stream
    check(talk, peer)
