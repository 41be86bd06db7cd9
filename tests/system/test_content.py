"""File to socket: each byte, once, in order."""

from demo import set_mtu
from rig import PEER, SPARE, lines

MIB = 1 << 20


def test_lengths(rig):
    file = rig.fill("small-pieces", 2 * MIB)
    for length in 0, 1, 511, 4095, 4096, 4097, 65537, 1 * MIB + 3:
        sent = rig.send(file, f"pipe:0:{length}")[0]
        assert sent["bytes"] == sent["offloaded"] == length


def test_odd_offsets(rig):
    file = rig.fill("small-pieces", 2 * MIB)
    for offset, length in ((1, 1), (511, 2), (512, 512), (4095, 2), (1023, 8191), (4096, 1),
                           (12345, 1234567), (2 * MIB - 1, 1), (2 * MIB - 4097, 4097)):
        sent = rig.send(file, f"pipe:{offset}:{length}")[0]
        assert sent["bytes"] == sent["offloaded"] == length, offset


def test_whole_small_files(rig):
    for size in 1, 4095, 4096, 4097, 12289:
        rig.guest.run("rm -f /mnt/small")
        sent = rig.send(rig.fill("small", size), f"pipe:0:{1 << 40}")[0]
        assert sent["bytes"] == sent["offloaded"] == size


def test_end_of_file_cuts(rig):
    file = rig.fill("cut", 2 * MIB)
    sent = rig.send(file, f"pipe:{2 * MIB - 5}:1000 pipe:{2 * MIB}:1000")[0]
    assert sent["bytes"] == 5


def test_gibibyte(rig):
    """Of a filesystem that dom0 has made and filled: it takes a third of the guest's time."""
    rig.dom0.run("mkfs.ext4 -q -F /dev/ram2 && mount /dev/ram2 /mnt &&"
                 f"/payload/vptest fill /mnt/big 0 {1 << 30} && umount /mnt", timeout=300)
    rig.guest.run(f"mkdir -p /fs && mount {SPARE} /fs")
    set_mtu(rig.lab, 9000)      # the emulated peer is soon busy with small frames
    sink, port = rig.sink()
    sent = lines(rig.guest.run(f"/payload/vptest run --trust 1 {PEER} {port} /fs/big pipe:0:all",
                               timeout=400).out)[0]
    got = lines(sink.wait(timeout=400, check=True).out)[-1]
    assert sent["offloaded"] == got["bytes"] == 1 << 30 and sent["copied"] == 0
    assert got["sha256"] == rig.pattern_hash(1 << 30)
    set_mtu(rig.lab, 1500)
    rig.guest.run("umount /fs")


def test_dirty_cache(rig):
    """Written and not yet on the disk; then overwritten in part."""
    rig.guest.run("rm -f /mnt/dirty")
    file = rig.fill("dirty", 8 * MIB, sync=False)
    rig.send(file, "pipe:0:all")
    rig.guest.run(f"dd if=/dev/urandom of={file} bs=1000 count=1000 seek=77 conv=notrunc 2>/dev/null")
    sent = rig.send(file, "pipe:0:all")[0]
    assert sent["offloaded"] == 8 * MIB


def test_clean_cache(rig):
    file = rig.fill("cached", 4 * MIB)
    rig.guest.run(f"cat {file} >/dev/null")
    rig.send(file, "pipe:3:all")


def test_sparse(rig):
    rig.guest.run("rm -f /mnt/sparse; truncate -s 9M /mnt/sparse")
    file = rig.fill("sparse", 5 * MIB, offset=1 * MIB + 100, pieces="5000 700000")
    sent = rig.send(file, "pipe:0:all pipe:1048000:5000000 pipe:9000000:437184")[0]
    assert sent["offloaded"] == sent["bytes"]


def test_only_a_hole(rig):
    rig.guest.run("rm -f /mnt/hole; truncate -s 5000001 /mnt/hole")
    sent = rig.send("/mnt/hole", "pipe:7:all")[0]
    assert sent["offloaded"] == 5000001 - 7


def test_unwritten_tail(rig):
    """Blocks that are allocated and hold somebody's old bytes read as zeros."""
    rig.fill("old", 64 * MIB)
    rig.guest.run("rm /mnt/old; sync; rm -f /mnt/tail")
    file = rig.fill("tail", 100000)
    rig.guest.run(f"fallocate -l 20000000 {file}; sync")
    extents = rig.guest.run(f"filefrag -v {file}").out
    assert "unwritten" in extents
    sent = rig.send(file, "pipe:0:all")[0]
    assert sent["bytes"] == sent["offloaded"] == 20000000


def test_fragmented(rig):
    """More than 1,000 extents: two files grow a block at a time, side by side."""
    rig.guest.run("rm -f /mnt/frag /mnt/other;"
                  "/payload/vptest interleave /mnt/frag /mnt/other 1300", timeout=120)
    count = int(rig.guest.run("filefrag /mnt/frag").out.split(":")[1].split()[0])
    assert count >= 1000
    sent = rig.send("/mnt/frag", "pipe:0:all pipe:2049:5000000")[0]
    assert sent["offloaded"] == sent["bytes"]


def test_punched(rig):
    """More than 1,000 extents with holes between."""
    rig.guest.run("rm -f /mnt/punched")
    file = rig.fill("punched", 10 * MIB, pieces="4096 8192")
    sent = rig.send(file, "pipe:0:all")[0]
    assert sent["offloaded"] == sent["bytes"] >= 10 * MIB - 8192


def test_growing(rig):
    """What was there at the start is sent, not what comes meanwhile."""
    rig.guest.run("rm -f /mnt/log")
    file = rig.fill("log", 32 * MIB)
    writer = rig.guest.spawn(f"while :; do head -c 5000 /dev/urandom >>{file}; done")
    try:
        for _ in range(3):
            # Whoever writes may push the end of it off to the ordinary path.
            sent = rig.send(file, "pipe:0:99999999999", offloaded=False)[0]
            assert sent["bytes"] >= 32 * MIB and sent["offloaded"] > 0
    finally:
        writer.kill()


def test_alternating(rig):
    """200 transfers over one connection, alternating with send()."""
    file = rig.fill("alternate", 4 * MIB)
    sent = rig.send(file, "send:1000 pipe:12345:20000 send:1 pipe:0:100001", repeat=100,
                    timeout=300)[0]
    assert sent["offloaded"] == 100 * (20000 + 100001)


def test_corked(rig):
    """A header that waits in the send queue goes out before the file."""
    file = rig.fill("corked", 1 * MIB)
    sent = rig.send(file, "cork send:300 pipe:0:all send:50 uncork", repeat=5)[0]
    assert sent["offloaded"] == 5 * MIB


def test_full_send_queue(rig):
    """Much unacknowledged and unsent data travels along."""
    file = rig.fill("queue", 1 * MIB)
    sent = rig.send(file, "send:3000000 pipe:1:1000000", repeat=3)[0]
    assert sent["offloaded"] == 3000000


def test_concurrent(rig):
    """64 connections at once."""
    file = rig.fill("many", 16 * MIB)
    sent = rig.send(file, "send:100 pipe:0:1000000 pipe:5000000:1000000 send:7", connections=64,
                    timeout=300)
    assert sum(one["offloaded"] for one in sent) == 64 * 2000000


def test_peer_talks_back(rig):
    """What the client sends meanwhile arrives at the guest's socket, in order."""
    file = rig.fill("talk", 32 * MIB)
    client, port = rig.client("talk", after=5 * MIB, talk=200000)
    sent = rig.run(file, "pipe:0:all recv:200000 send:10", port)[0]
    got = client.wait(timeout=60, check=True).out
    assert f'"sha256":"{sent["sha256"]}"' in got
    assert sent["offloaded"] == 32 * MIB and sent["received"] == 200000
