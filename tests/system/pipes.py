"""What tests of the pipes that end in files or begin in sockets share."""

import contextlib

import pytest

from rig import PEER, SPARE, lines

MIB = 1 << 20
FILESYSTEMS = [("ext4", f"mkfs.ext4 -q -F {SPARE}"), ("xfs", f"mkfs.xfs -q -f {SPARE}")]
# For tests of the fixture fs: on each of them.
both = pytest.mark.parametrize("fs", FILESYSTEMS, indirect=True, ids=lambda p: p[0])
# Tables of the device mapper for the spare disk: as it is, and with writes that take long.
SECTORS = 3145728
LINEAR = f"0 {SECTORS} linear /dev/ram2 0\n"
SLOW = f"0 {SECTORS} delay /dev/ram2 0 0 /dev/ram2 0 400\n"
CHECK = {"ext4": f"e2fsck -fn {SPARE}", "xfs": f"xfs_repair -n {SPARE}"}


def make(rig, kind, command, options=""):
    """Yields the rig with that at /fs, and has it checked."""
    rig.guest.run(f"mkdir -p /fs; modprobe xfs; {command} && mount {options} {SPARE} /fs",
                  timeout=60)
    yield rig
    rig.guest.run(f"umount /fs && {CHECK[kind]}", timeout=120)


@contextlib.contextmanager
def mapped(rig, table):
    """In dom0, the device mapper is below the spare disk: lines of a table over /dev/ram2."""
    rig.dom0.run("modprobe dm-mod; xl block-detach guest xvdd &&"
                 " dmsetup create --noudevsync below && dmsetup mknodes &&"
                 " xl block-attach guest /dev/mapper/below,raw,xvdd,w", timeout=60,
                 stdin=table.encode())
    wait_spare(rig)
    yield
    rig.dom0.run("xl block-detach guest xvdd && dmsetup remove --noudevsync below &&"
                 " xl block-attach guest /dev/ram2,raw,xvdd,w", timeout=60)
    wait_spare(rig)


def remap(rig, table):
    """Another table below the spare disk, while all runs."""
    rig.dom0.run("dmsetup reload below && dmsetup resume --noudevsync below",
                 stdin=table.encode())


def wait_spare(rig):
    rig.guest.run(f"until [ -b {SPARE} ]; do usleep 20000; done", timeout=20)


def source(rig, length, end="fin", pause="", at=0):
    """A server on the peer that sends the pattern, from `at` on, to who comes."""
    port = rig.next_port()
    job = rig.peer.spawn(f"/payload/vptest source {port} {length} from:{at} {end} {pause}",
                         stdin=None)
    job.wait_output('"listening"', timeout=20)
    return job, port


def wait_answered(job):
    """The source has sent all, closed its half, and got an answer after that."""
    end = lines(job.wait(timeout=30, check=True).out)[-1]
    assert (end["errno"], end["answered"]) == (0, 100)


def take(rig, path, offset, length, sent=None, how="", before="", at=0):
    """From a source on the peer into a file; what the guest's program says."""
    job, port = source(rig, length if sent is None else sent, at=at)
    took = lines(rig.guest.run(f"{before} /payload/vptest take {rig.address} {port} {path} {offset} "
                               f"{length} {how}", timeout=300).out)[0]
    wait_answered(job)
    assert not took["lost"] or took["errno"], "lost without a word"
    return took


def copy(rig, source, sink, length, at=0, to=0, how="", before=""):
    """From file to file; what the guest's program says."""
    return lines(rig.guest.run(f"{before} /payload/vptest copy {source} {sink} {at} {length} {to} "
                               f"{how}", timeout=300).out)[0]


def relay(rig, length, sent=None, sender=None):
    """From a source to a sink, both on the peer: what the guest and the sink say."""
    job, port = source(rig, length if sent is None else sent)
    sink, to = rig.sink()
    said = lines(rig.guest.run(f"/payload/vptest relay {sender or rig.address} {port} "
                               f"{rig.address} {to} {length}", timeout=300).out)[0]
    wait_answered(job)
    assert not said["lost"]
    return said, lines(sink.wait(timeout=30, check=True).out)[-1]


def start_relay(rig, what, after=0, length=64 * MIB, end="fin", pause="", talk=0):
    """A relay to an unusual client that is under way when this returns."""
    job, port = source(rig, length, end, pause)
    client, to = rig.client(what, after, talk)
    relaying = rig.guest.spawn(f"/payload/vptest relay {PEER} {port} {PEER} {to} {1 << 40}")
    client.wait_output('"at"', timeout=60)
    return job, client, relaying


def wait_taken(rig, path, size):
    rig.guest.run(f"until [ $(stat -c %s {path} 2>/dev/null || echo 0) -ge {size} ];"
                  " do usleep 20000; done", timeout=30)


def drop_caches(rig):
    rig.guest.run("sync; echo 3 >/proc/sys/vm/drop_caches", timeout=60)


def check(rig, path, offset, length, at=0, cold=True):
    """That range of the file is the pattern from `at` on, or (None) zeros.  Its size."""
    if cold:
        drop_caches(rig)
    out = rig.guest.run(f"/payload/vptest check {path} {offset} {length} "
                        f"{'' if at is None else at}", timeout=300).out
    got = lines(out)[0]
    assert got["right"] == length, f"{path}: wrong byte at {offset + got['right']}"
    return got["size"]
