"""A guest that speaks the protocol and lies: refused, logged, and nobody else notices."""

from rig import PEER, lines


def test_forged_requests(rig):
    """The second guest forges, and the first one is served all the while."""
    lab, dom0 = rig.lab, rig.dom0
    liar = lab.create_guest("guest2", data="/dev/ram1")
    domain = dom0.run("xl domid guest2").out.strip()
    rig.load(liar, "vpipe-forge")
    rig.attach("guest2")
    sectors = int(liar.run("cat /sys/block/xvdc/size").out)
    file = rig.fill("honest", 50000000)
    sink, port = rig.sink()
    sending = rig.guest.spawn(f"/payload/vptest run {PEER} {port} {file} pipe:0:all")

    vdev = liar.run("basename $(readlink -f /sys/block/xvdc/device)").out.strip()
    out = liar.run(f"/payload/vptest forge {liar.via} {PEER} {vdev.split('-')[-1]} {sectors} "
                   "2001:db8::3",
                   check=False, timeout=120).out
    cases = lines(out)
    wrong = [case for case in cases if not case["ok"]]
    assert not wrong and len(cases) >= 125

    sent = lines(sending.wait(timeout=60, check=True).out)[0]
    got = lines(sink.wait(timeout=60, check=True).out)[-1]
    assert sent["sha256"] == got["sha256"] and sent["offloaded"] == 50000000, sent

    log = dom0.run(f"dmesg | grep -c 'domain {domain}: refused command'").out
    assert 1 <= int(log) <= 5, "refusals are logged, and not each"
    refused = dom0.run(
        f"cat /sys/bus/xen-backend/devices/vpipe-{domain}-0/statistics/refused_total")
    assert int(refused.out) >= 60

    # An impossible index breaks this queue, and only this one.
    liar.run("/payload/vptest forge jump")
    dom0.run(f"until dmesg | grep -q 'domain {domain}: queue 0 is broken'; do usleep 100000; done",
             timeout=20)
    assert rig.send(file, "pipe:1:1000000")[0]["offloaded"] == 1000000

    # And its domain can be destroyed.
    lab.destroy_guest("guest2")
    dom0.run(f"until ! ls /sys/bus/xen-backend/devices | grep -q vpipe-{domain}-0; do"
             " usleep 100000; done", timeout=20)
    rig.detach(domain)      # what the toolstack has left in xenstore
