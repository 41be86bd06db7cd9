"""The pipes that are not from a file to a socket: each once.  The rest of it is long."""

from pipes import FILESYSTEMS, MIB, check, make, source, take
from rig import PEER, lines


def test_socket_to_file(rig):
    for fs in make(rig, *FILESYSTEMS[0]):
        took = take(fs, "/fs/new", 0, 8 * MIB + 5)
        assert took["moved"] == 8 * MIB + 5 and took["offloaded"] == 8 * MIB
        assert check(fs, "/fs/new", 0, 8 * MIB + 5) == 8 * MIB + 5


def test_file_to_file(rig):
    """From ext4 on one disk to XFS on another."""
    for fs in make(rig, *FILESYSTEMS[1]):
        file = fs.fill("in", 8 * MIB + 5)
        copied = lines(fs.guest.run(f"/payload/vptest copy {file} /fs/out 0 {8 * MIB + 5} 0").out)[0]
        assert copied["moved"] == 8 * MIB + 5 and copied["offloaded"] == 8 * MIB
        assert check(fs, "/fs/out", 0, 8 * MIB + 5) == 8 * MIB + 5


def test_socket_to_socket(rig):
    job, port = source(rig, 8 * MIB + 5)
    sink, to = rig.sink()
    said = lines(rig.guest.run(f"/payload/vptest relay {PEER} {port} {PEER} {to} {1 << 40}").out)[0]
    got = lines(sink.wait(timeout=30, check=True).out)[-1]
    assert said["moved"] == said["offloaded"] == got["bytes"] == 8 * MIB + 5
    assert got["sha256"] == rig.pattern_hash(8 * MIB + 5)
    job.wait(timeout=30, check=True)
