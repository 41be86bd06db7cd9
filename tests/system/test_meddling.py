"""
What others do with a connection while dom0 has it: another thread, a child, signals. Nobody
sleeps so that a signal cannot reach him, and each call has the effect that it has on any
connection, at once or when the transfer has ended.
"""

import errno

import pytest

from net import STATS, stats
from rig import PEER, lines

pytestmark = pytest.mark.long

MIB = 1 << 20
SIZE, STALL, SOME = 32 * MIB, 3 * MIB, 100


def uninterruptible(rig):
    """
    The threads that are, each time one looks, in state D, which is that of who waits for a
    disk: with where they wait.
    """
    return rig.guest.run("tasks() { for pid in $(pidof vptest); do ls -d /proc/$pid/task/*;"
                         " done; }; for i in $(seq 20); do usleep 50000; stuck=; for t in $(tasks);"
                         " do ! grep -q '^State:.D' $t/status || stuck=$stuck$t/stack\\ ; done;"
                         " [ \"$stuck\" ] || exit 0; done; tail -n 20 $stuck", timeout=15).out


def start(rig, what, talk=0):
    """A transfer that dom0 has begun and whose client reads no more."""
    file = rig.read_only(SIZE)
    client, port = rig.client("stall", after=STALL, talk=talk)
    job = rig.guest.spawn(f"exec /payload/vptest meddle {PEER} {port} {file} {what}", stdin=None)
    client.wait_output('"at"', timeout=60)
    return client, job, port


def begin(rig, job):
    job.write(b"now\n")
    job.wait_output('"begun"', timeout=20)


def end(rig, client, job, on=True):
    """Let the client read on: what the call did, the transfer, and the client's count."""
    if on:
        client.write(b"on\n")
    said = lines(job.wait(timeout=60, check=True).out)
    got = lines(client.wait(timeout=60, check=True).out)[-1]
    rig.settle()
    return said[1], said[2], got


def whole(transfer, got, more=0):
    assert transfer["moved"] == SIZE and transfer["error"] == 0, transfer
    assert (got["bytes"], got["errno"]) == (SIZE + more, 0), got


@pytest.mark.parametrize("what", ["send", "recv", "pollin", "shutdown", "option", "info"])
def test_interruptible(rig, what):
    """Neither who transfers nor who waits for that counts as waiting for a disk."""
    client, job, _ = start(rig, what, talk=SOME)
    begin(rig, job)
    stuck = uninterruptible(rig)
    end(rig, client, job)
    assert not stuck, stuck


@pytest.mark.parametrize("what", ["send", "fork"])
def test_sends(rig, what):
    """The bytes go between those of the file, or behind them."""
    client, job, _ = start(rig, what)
    begin(rig, job)
    did, transfer, got = end(rig, client, job)
    assert did["did"] == (SOME if what == "send" else 0)
    whole(transfer, got, SOME)


@pytest.mark.parametrize("what", ["recv", "pollin", "epoll"])
def test_waits_for_input(rig, what):
    """It comes when the client goes on."""
    client, job, _ = start(rig, what, talk=SOME)
    begin(rig, job)
    did, transfer, got = end(rig, client, job)
    assert did["did"] == (SOME if what == "recv" else 1)
    whole(transfer, got)


@pytest.mark.parametrize("what", ["tryrecv", "trysend", "poll"])
def test_does_not_wait(rig, what):
    """The client is still stalled when the call has returned."""
    client, job, _ = start(rig, what)
    begin(rig, job)
    job.wait_output('"did"', timeout=20)
    did, transfer, got = end(rig, client, job)
    if what == "poll":
        assert did["did"] == 0
    elif did["did"] != SOME:
        assert (did["did"], did["errno"]) == (-1, 11), did
    whole(transfer, got, SOME if did["did"] == SOME else 0)


def test_signals(rig):
    """Their handlers run at once, and the transfer goes on."""
    client, job, _ = start(rig, "signal")
    begin(rig, job)
    job.wait_output('"did"', timeout=20)
    _, transfer, got = end(rig, client, job)
    whole(transfer, got)
    assert transfer["offloaded"] == SIZE


@pytest.mark.parametrize("what", ["option", "info"])
def test_options(rig, what):
    client, job, _ = start(rig, what)
    begin(rig, job)
    did, transfer, got = end(rig, client, job)
    assert did["did"] == 0
    whole(transfer, got)


def test_shutdown(rig):
    """As with sendfile(): what is queued is sent, then comes the end; no more is moved."""
    client, job, _ = start(rig, "shutdown")
    begin(rig, job)
    did, transfer, got = end(rig, client, job)
    assert did["did"] == 0
    assert got["errno"] == 0 and STALL <= got["bytes"] <= SIZE
    assert max(transfer["moved"], 0) <= got["bytes"] or transfer["moved"] == SIZE


def test_close(rig):
    """The number is free at once; the transfer holds the connection until it has ended."""
    client, job, _ = start(rig, "close")
    begin(rig, job)
    job.wait_output('"did"', timeout=20)
    did, transfer, got = end(rig, client, job)
    assert did["did"] == 0
    whole(transfer, got)


def test_child_keeps_it(rig):
    """The connection ends when the last one that has it goes."""
    client, job, _ = start(rig, "hold")
    begin(rig, job)
    client.write(b"on\n")
    job.wait_output('"moved"', timeout=60)
    assert not client.done()
    job.write(b"end\n")
    got = lines(client.wait(timeout=30, check=True).out)[-1]
    whole(lines(job.wait(timeout=20).out)[2], got)
    rig.settle()


@pytest.mark.parametrize("what", ["send", "recv", "pollin", "epoll", "shutdown", "option", "fork"])
def test_killed(rig, what):
    """All of it, with one call in the middle and a client that reads nothing."""
    client, job, _ = start(rig, what)
    begin(rig, job)
    rig.guest.run("killall -9 vptest; while pidof vptest; do usleep 20000; done", timeout=20)
    job.wait(timeout=20)
    client.write(b"on\n")
    got = lines(client.wait(timeout=30, check=True).out)[-1]
    assert got["bytes"] < SIZE + SOME
    rig.settle()


def test_stopped(rig):
    """While the program is stopped dom0 moves on; then it finds all done."""
    client, job, _ = start(rig, "info")
    before = stats(rig)["bytes_total"]
    rig.guest.run("killall -STOP vptest")
    client.write(b"on\n")
    rig.dom0.run(f"until [ $(cat {STATS}/bytes_total) -ge {before + SIZE // 4} ];"
                 " do usleep 20000; done", timeout=30)
    assert not client.done()
    rig.guest.run("killall -CONT vptest")
    begin(rig, job)
    _, transfer, got = end(rig, client, job, on=False)
    whole(transfer, got)


def test_shown(rig):
    """By ss, with its counters."""
    client, job, port = start(rig, "info")
    shown = rig.guest.run(f"timeout 10 ss -tiH dport = :{port}").out
    begin(rig, job)
    whole(*end(rig, client, job)[1:])
    assert "ESTAB" in shown and "cwnd" in shown, f"ss says: {shown!r}"


def test_destroyed(rig):
    """By ss -K, which takes effect when the transfer has ended: the peer is told as well."""
    client, job, port = start(rig, "info")
    rig.guest.run(f"timeout 10 ss -K dport = :{port}")
    begin(rig, job)
    _, transfer, got = end(rig, client, job)
    assert transfer["moved"] == SIZE and got["errno"] == errno.ECONNRESET, (transfer, got)
