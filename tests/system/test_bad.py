"""Bad input gets a clear errno and moves nothing."""

from rig import PEER, lines


def test_bad_arguments(rig):
    file = rig.fill("bad", 16384)
    client, port = rig.client("read")
    out = rig.guest.run(f"/payload/vptest bad {file} {PEER} {port}", check=False, timeout=60).out
    cases = lines(out)
    wrong = [case for case in cases if not case["ok"]]
    assert not wrong and len(cases) >= 40
    end = lines(client.wait(timeout=20, check=True).out)[-1]
    assert end["bytes"] == 0


def test_declined_falls_back(rig):
    """tmpfs has no disk: the ordinary path, byte for byte, and the caller can see it."""
    rig.guest.run("mkdir -p /tmp/t; mount -t tmpfs none /tmp/t;"
                  "/payload/vptest fill /tmp/t/file 0 3000001")
    sent = rig.send("/tmp/t/file", "send:10 pipe:5:all send:10", offloaded=False)[0]
    assert sent["offloaded"] == 0 and sent["copied"] == 3000001 - 5
    rig.guest.run("umount /tmp/t")


def test_without_a_driver_domain(rig):
    """Detached: everything goes on by the ordinary path."""
    file = rig.fill("detached", 1000000)
    rig.detach()
    sent = rig.send(file, "send:10 pipe:5:all", offloaded=False)[0]
    assert sent["offloaded"] == 0 and sent["copied"] == 1000000 - 5
    rig.attach()
    sent = rig.send(file, "send:10 pipe:5:all")[0]
    assert sent["offloaded"] == 1000000 - 5
