"""More than 4 GiB: sequence numbers, and whatever has 32 bits, begin anew."""

import hashlib
import subprocess
import tempfile

import pytest

from pipes import MIB, both, relay, take
from rig import BIN, PEER, lines

pytestmark = pytest.mark.long

GIB = 1 << 30
LENGTH = 4 * GIB + 5 * MIB + 4096
TIMEOUT = 280


@pytest.fixture
def huge(rig):
    """ext4 at /huge, with room for that."""
    rig.lab.resize_disk(6 * 1024)
    rig.dom0.run("xl block-attach guest /dev/vdb,raw,xvde,w", timeout=30)
    rig.guest.run("until [ -b /dev/xvde ]; do usleep 20000; done; mkdir -p /huge;"
                  "mkfs.ext4 -q -F -E nodiscard /dev/xvde && mount /dev/xvde /huge", timeout=60)
    yield rig
    rig.guest.run("umount /huge && e2fsck -fn /dev/xvde", timeout=120)
    rig.dom0.run("xl block-detach guest xvde", timeout=30)
    rig.lab.resize_disk()


def send(rig, file, offset, length):
    """In one call; the SHA-256 of what has come."""
    sink, port = rig.sink()
    sent = lines(rig.guest.run(f"/payload/vptest run --trust 1 {PEER} {port} {file}"
                               f" pipe:{offset}:{length}", timeout=TIMEOUT).out)[0]
    got = lines(sink.wait(timeout=60, check=True).out)[-1]
    assert sent["offloaded"] == got["bytes"] == length and sent["copied"] == sent["errors"] == 0
    return got["sha256"]


@both
def test_sparse(fs):
    """4.5 GiB, with data around what 32 bits can count; parts of it, and the whole."""
    size, pieces = 9 * GIB // 2, ((0, MIB), (4 * GIB - 3 * MIB - 5, 7 * MIB), (9 * GIB // 2 - 5, 5))
    fs.guest.run(f"truncate -s {size} /fs/sparse")
    with tempfile.NamedTemporaryFile() as same:
        same.truncate(size)
        for offset, length in pieces:
            fs.fill("/fs/sparse", length, offset=offset)
            subprocess.run([BIN / "vptest", "fill", same.name, str(offset), str(length)], check=True)
        for offset, length in ((4 * GIB - 5000, 20000), (4 * GIB - 2 * MIB - 1, 4 * MIB),
                               (4 * GIB, 100), (4 * GIB + 1, MIB), (0, size)):
            digest = hashlib.sha256()
            same.seek(offset)
            for at in range(0, length, MIB):
                digest.update(same.read(min(MIB, length - at)))
            assert send(fs, "/fs/sparse", offset, length) == digest.hexdigest()


def test_receive_and_send(huge):
    """Into a file, and from there back; each in one call."""
    took = take(huge, "/huge/file", 0, LENGTH)
    assert took["moved"] == took["offloaded"] == LENGTH
    huge.guest.run("sync; echo 3 >/proc/sys/vm/drop_caches", timeout=60)
    assert send(huge, "/huge/file", 0, LENGTH) == huge.pattern_hash(LENGTH)


def test_relay(rig):
    said, got = relay(rig, LENGTH + 3)
    assert said["moved"] == said["offloaded"] == got["bytes"] == LENGTH + 3
    assert got["sha256"] == rig.pattern_hash(LENGTH + 3)
