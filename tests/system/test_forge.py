"""A guest that speaks the protocol and lies: refused, logged, and nobody else notices."""

from rig import PEER, Rig, lines


class ForgeRig(Rig):
    def prepare_guest(self, guest=None, module="vpipe-forge"):
        super().prepare_guest(guest, module)


def test_forged_requests(fresh_lab):
    rig = ForgeRig(fresh_lab)
    lab = rig.lab
    sectors = int(rig.guest.run("cat /sys/block/xvdc/size").out)
    # A second, honest guest is served all the while.
    honest = lab.create_guest("guest2", data="/dev/ram1")
    rig.prepare_guest(honest, "vpipe-front")
    rig.attach("guest2")
    honest.run("/payload/vptest fill /mnt/file 0 50000000; sync", timeout=60)
    sink, port = rig.sink()
    sending = honest.spawn(f"/payload/vptest run {PEER} {port} /mnt/file pipe:0:all")

    vdev = rig.guest.run("basename $(readlink -f /sys/block/xvdc/device)").out.strip()
    out = rig.guest.run(f"/payload/vptest forge {rig.guest.via} {PEER} {vdev.split('-')[-1]} "
                        f"{sectors}", check=False, timeout=120).out
    cases = lines(out)
    wrong = [case for case in cases if not case["ok"]]
    assert not wrong and len(cases) >= 40

    sent = lines(sending.wait(timeout=60, check=True).out)[0]
    got = lines(sink.wait(timeout=60, check=True).out)[-1]
    assert sent["sha256"] == got["sha256"] and sent["offloaded"] == 50000000, sent

    log = rig.dom0.run("dmesg | grep -c 'domain 1: refused command'").out
    assert 1 <= int(log) <= 5, "refusals are logged, and not each"
    refused = rig.dom0.run("cat /sys/bus/xen-backend/devices/vpipe-1-0/statistics/refused_total")
    assert int(refused.out) >= 30

    # An impossible index breaks this queue, and only this one.
    rig.guest.run("/payload/vptest forge jump")
    rig.dom0.run("until dmesg | grep -q 'domain 1: queue 0 is broken'; do usleep 100000; done",
                 timeout=20)
    sink, port = rig.sink()
    sent = lines(honest.run(f"/payload/vptest run {PEER} {port} /mnt/file pipe:1:1000000",
                            timeout=60).out)[0]
    got = lines(sink.wait(timeout=60, check=True).out)[-1]
    assert sent["sha256"] == got["sha256"] and sent["offloaded"] == 1000000

    # And its domain can be destroyed.
    lab.destroy_guest()
    rig.dom0.run("until ! ls /sys/bus/xen-backend/devices | grep -q vpipe-1-0; do usleep 100000;"
                 " done", timeout=20)
    rig.detach("guest2")
    lab.destroy_guest("guest2")
    assert lab.check_logs() == []
    lab.restore()
