"""The arithmetic of bench/, and a report of figures that are made up."""

import math
import pathlib
import struct
import sys

import pytest

TOP = pathlib.Path(__file__).resolve().parents[3]
sys.path[:0] = [str(TOP / "bench"), str(TOP / "lab")]
import costs  # noqa: E402
import disk  # noqa: E402
import growth  # noqa: E402
import measure  # noqa: E402
import report  # noqa: E402
import smoke  # noqa: E402
import wakes  # noqa: E402
from bench import chosen, jobs  # noqa: E402
from cases import PIPES, ROOTS, SYNC, WAYS, Case, command  # noqa: E402
from figures import FIGURES, SMOKE  # noqa: E402
from lab import ADDRESSES, DISK_MIB, LabError  # noqa: E402
from results import Cells, value  # noqa: E402
from summary import crossing, noisy, ratio, spread, summary, text, tolerance  # noqa: E402
from sweep import groups, rotated  # noqa: E402


def run(rate, **more):
    return {"bytes": 10 ** 9, "seconds": 1, "mb_per_s": rate, "domu_cpu_s": 0.5, "dom0_cpu_s": 1,
            "xen_cpu_s": 0, "threads": {"netback": 0.2}, "stats": {}, "events_guest": {"eth0": 5},
            **more}


def cell(rates, **what):
    case = Case(**{"pipe": "file_to_socket", "way": "vpipe", "burners": 0, "mebibytes": 64, **what})
    return {**case._asdict(), "runs": [run(rate) for rate in rates]}


def test_summary():
    assert summary([]) is None
    assert summary([3, None, 1, 2]) == (2, 1, 3, 3)
    assert spread(summary([2, 1, 3])) == 0.5
    assert spread(summary([0, 0])) == 0
    assert spread(summary([0, 0, 1])) == math.inf
    assert not noisy(summary([5]))
    assert noisy(summary([1, 2, 3])) and not noisy(summary([9, 10, 11]))


def test_text():
    assert text(None) == "-"
    assert text(summary([5])) == "5.0"
    assert text(summary([9, 10, 11])) == "10.0 ± 10%"
    assert text(summary([1, 2, 3])) == "noisy (1.0 to 3.0)"
    assert text(summary([-0.004, 0.003]), 2) == "0.00" and "noisy" in text(summary([0, 0.006]), 2)


def test_ratio():
    fine, wild = summary([10, 11]), summary([1, 9])
    assert ratio(fine, fine) == 1
    assert ratio(fine, wild) is None and ratio(wild, fine) is None and ratio(fine, None) is None
    assert ratio(fine, summary([0])) is None


def test_tolerance():
    assert tolerance([100, 100]) == 2
    assert tolerance([95, 100, 105]) == 20
    assert tolerance([0, 0]) == 0


def test_crossing():
    sizes = [1, 2, 4, 8]
    assert crossing(sizes, [1, 3, 3, 3], [2, 2, 2, 2]) == 2
    assert crossing(sizes, [3, 1, 3, 3], [2, 2, 2, 2]) == 4
    assert crossing(sizes, [3, 3, 3, 1], [2, 2, 2, 2]) is None
    assert crossing(sizes, [3, 3, None, 3], [2, 2, 2, 2]) == 8


def test_value():
    assert value({"error": "no"}, "mb_per_s") is None
    assert value(run(7), "mb_per_s") == 7
    half = run(7, bytes=5 * 10 ** 8)
    assert value(half, "domu_cpu_s_per_gb") == 1
    assert value(half, "threads.netback_per_gb") == 0.4
    assert value(half, "threads.vpipe_per_gb") == 0
    assert value(half, "domu_share") == 50
    assert value(half, "rest_of_dom0_per_gb") == 1.6
    assert value(half, "events_guest_per_gb") == 10


def test_order():
    """Each is first once, and all of a group have the same number of busy domains."""
    wanted = [Case("file_to_socket", way, burners, 64) for way in "abc" for burners in (1, 0)]
    rounds = [dict(groups(wanted, number)) for number in range(3)]
    assert {"".join(case.way for case in one[0]) for one in rounds} == {"abc", "bca", "cab"}
    assert all({case.burners for case in one[1]} == {1} for one in rounds)
    assert rotated([], 3) == []


def test_counters():
    text_ = "\n".join([
        "/proc/7/comm:vpback/1-0", "/proc/7/schedstat:2000000000 5 6",
        "/proc/8/comm:vif1.0-q0-guest", "/proc/8/schedstat:1000000000 5 6",
        "/proc/9/comm:1.xvdc-0", "/proc/9/schedstat:500000000 5 6",
        "/proc/10/comm:bash: x", "/proc/10/schedstat:500000000 5 6",
        "/sys/bus/xen-backend/devices/vpipe-1-0/statistics/requests_total:12",
        "/proc/interrupts:  61:    4    3  xen-dyn    -event     vpipe-back",
        "/proc/interrupts:   1:    4    3  xen-percpu -virq      timer0"])
    got = measure._parse(text_)
    assert got == {"threads": {"vpipe": 2, "netback": 1, "blkback": 0.5},
                   "stats": {"requests_total": 12}, "events_dom0": {"vpipe-back": 7}}
    both = text_ + "\n/sys/bus/xen-backend/devices/vpipe-2-0/statistics/requests_total:30"
    assert measure._parse(both)["stats"] == {"requests_total": 42}
    assert measure.grown({"a": 3, "b": 1}, {"a": 1, "b": 1}) == {"a": 2}


def test_left_idle():
    """As the kernel writes a histogram; only leaving counts."""
    assert costs.left_idle("\n".join([
        "# event histogram", "#", "# trigger info: hist:keys=state:vals=hitcount [active]", "", "{ state:          1 } hitcount:         40",
        "{ state: 4294967295 } hitcount:         39", "", "Totals:", "    Hits: 79"])) == 39
    assert costs.left_idle("# event histogram\n\nTotals:\n    Hits: 0\n") == 0


def test_partitions():
    """Behind one another, inside the disk, and a file fits."""
    sector = disk.partition_table(disk.PARTS, disk.PART_MIB)
    assert len(sector) == 512 and sector.endswith(b"\x55\xaa")
    end = 1 << 20
    for n in range(4):
        kind, start, length = struct.unpack_from("<4xB3xII", sector, 446 + 16 * n)
        if n < disk.PARTS:
            assert (kind, start * 512) == (0x83, end)
            end += length * 512
        else:
            assert (kind, start, length) == (0, 0, 0)
    assert end <= DISK_MIB << 20
    assert all(case.mebibytes <= disk.FILE_MIB < disk.PART_MIB
               for case in FIGURES["disk"].run.args[0](None))


def test_command():
    class Stage:
        sizes = (1024,)

        @staticmethod
        def file(_):
            return "/mnt/file"
    peer = ADDRESSES["peer"]
    case = Case("file_to_socket", "vpipe", 0, 1)
    assert command(Stage, case, 1, 2).endswith(f"--length 1048576 /mnt/file {peer} 2")
    assert f" {ROOTS['emulated']}/mnt/file " in command(Stage, case._replace(disk="emulated"), 1, 2)
    case = Case("socket_to_file", "vpipe", 0, 1)
    for sync, option in SYNC.items():
        assert (command(Stage, case._replace(sync=sync), 1, 2)
                == f"/payload/vpipe-recv {option} --path offload 1 /fs/out")
    assert command(Stage, case._replace(disk="emulated"), 1, 2).endswith(
        f" {ROOTS['emulated']}/fs/out")


def test_growth():
    """Each is another one, and its command a command."""
    wanted = list(growth.wanted())
    assert len({how[:2] for how in wanted}) == len(wanted)
    assert all("{" not in how[2].format(peer="peer", port=1) for how in wanted)
    assert [how[5:] for how in wanted if len(how) > 5] == [(vms,) for vms in growth.VMS]


def test_chosen():
    assert chosen("fig4b") == ["fig4b"]
    assert chosen("fig4") == ["fig4a", "fig4b", "fig4c", "fig4d", "fig4d-one", "fig4b-sync"]
    assert chosen("nothing") == []
    assert jobs(["disk"], None) == [("disk", False)]


def test_smoke():
    measured = {"x": {"mb_per_s": [100]}}
    expected = {"x": {"mb_per_s": {"value": 100, "tolerance": 5}}}
    assert [row[-1] for row in smoke.compare(measured, expected)] == [True]
    assert [row[-1] for row in smoke.compare({"x": {"mb_per_s": [94]}}, expected)] == [False]
    assert [row[-1] for row in smoke.compare({"x": {"mb_per_s": [106]}}, expected)] == [False]
    assert [row[-1] for row in smoke.compare({"x": {"mb_per_s": [None]}}, expected)] == [False]
    assert [row[-1] for row in smoke.compare(measured, {})] == [False]
    learned = smoke.learned({"x": {"mb_per_s": [95, 100, 105]}})
    assert learned == {"x": {"mb_per_s": {"value": 100, "tolerance": 20}}}
    assert len({smoke.name(case) for case in SMOKE}) == len(SMOKE)


def co_located(pipe):
    return [cell([100 - 20 * n, 101 - 20 * n], pipe=pipe, way=way.name, burners=n)
            for way in WAYS[pipe] for n in range(4)]


def whole():
    fast, slow = {"seconds": [0.001, 0.001]}, {"seconds": [0.002, 0.002]}
    small = [{"kind": kind, "way": way, "bytes": size, **(fast if way == "vpipe" else slow)}
             for kind in ("kept", "cold", "answered", "new") for way in ("sendfile", "vpipe")
             for size in (4096, 65536)]
    disks = [cell([rate], pipe=pipe, way=way, disk=which)
             for which, rates_ in (("RAM", (10, 40, 50)), ("emulated", (8, 16, 20)))
             for pipe, other in (("file_to_socket", "sendfile"), ("socket_to_file", "read 64 KiB"))
             for way, rate in zip((other, "vpipe", "native"), rates_, strict=True)]
    synchronous = [cell([rate], pipe="socket_to_file", way=way, burners=n, mebibytes=16,
                        sync="each write") for n in range(4)
                   for way, rate in (("read 64 KiB", 4), ("vpipe", 40), ("native", 20))]
    count = {"way": "vpipe", "kind": "kept", "bytes": 4096, "number": 2, "retransmits_guest": 0,
             "wakeups_guest": 7,
             "stats": {"requests_total": 4}, "events_dom0": {"vpipe-back": 2, "timer": 9},
             "events_guest": {"vpipe-front": 2},
             "grants": {name: 0 for name in ("copied", "mapped", "unmapped")}}
    held = {"asked": 100, "open": 100, "dom0_kib": 51200, "guest_kib": 1024, "chunks": 16}
    sizes = [cell([50], way=way, mebibytes=size) for way in ("sendfile", "vpipe", "native")
             for size in (64, 128)]
    cpu = [cell([50], pipe=pipe, way=way) for pipe in ("file_to_socket", "socket_to_socket")
           for way in ("read 64 KiB", "sendfile", "vpipe", "native")]
    cpu.append(cell([0], way="sendfile", mebibytes=0))
    cpu[-1]["runs"] = [run(0, bytes=0, domu_cpu_s=0.3)]
    cpu[2]["runs"] = [run(50, domu_cpu_s=0.304), run(50, domu_cpu_s=0.308)]
    return {"xen_version": "4", "dom0_kernel": "6", "domu_kernel": "6", "figures": {
        **{f"fig4{letter}": {"cells": co_located(pipe)} for letter, pipe in
           zip(("a", "b", "c", "d", "d-one"), PIPES, strict=True)},
        "fig4b-sync": {"cells": synchronous}, "disk": {"cells": disks},
        "fig4a-virtual": {"cells": co_located("file_to_socket")},
        "fig5a": {"cells": sizes}, "fig6": {"cells": cpu},
        "caches": {"cells": [cell([1], cache=cache) for cache in ("cold", "warm")]},
        "credit": {"cells": co_located("file_to_socket"), "wakes": []},
        "credit2": {"cells": co_located("file_to_socket"), "wakes": [
            {"burners": 1, "wakes": {"is held back": {"number": n, "ms": 2 * n, "longest": n}}}
            for n in (7, 9)]},
        "breakeven": {"small": small}, "costs": {"costs": [count]}, "memory": {"memory": [held]},
        "growth": {"growth": [{"what": "VMs at once", "number": n, "runs": [
            {"dom0_cpu_s_per_gb": 1 + n, "domu_cpu_s_per_gb": 1, "requests_per_gb": 2}]}
            for n in (1, 3)]}}}


def test_report(tmp_path):
    bench = whole()
    bench["figures"]["fig4a"]["cells"][0]["runs"] = [run(10), run(90), {"error": "it broke"}]
    text_ = report.report(bench, tmp_path)
    sections = {line.split()[1].rstrip(":") for line in text_.splitlines()
                if line.startswith("## ")}
    assert sections == set(bench["figures"]) - {"credit", "credit2"} | {"Schedulers"}
    assert "noisy (10.0 to 90.0)" in text_ and "FAILED: file_to_socket" in text_
    assert "kept: vPipe is never slower from 4 KiB on" in text_
    assert "1 cells are too noisy" in text_
    assert ("the domU's is 3.00% (a transfer of nothing takes 300.0 to 300.0 ms, one with vPipe "
            "304.0 to 308.0 ms, one with sendfile 500 ms)") in text_
    assert "the domU's is no figure" in text_
    assert "| 3.5 |" in text_, "wake-ups"
    assert "VMs at once, from 1 to 3: a GB then takes 2.00 of dom0's" in text_
    assert "| socket → file | **vPipe** | 40.0 (0.80) | 16.0 (0.80) |" in text_
    assert ("socket → file: vPipe : read 64 KiB is 2.00 on the emulated disk and 4.00 on the RAM "
            "disk, vPipe : native 0.80 and 0.80; native has 0.40 of its speed") in text_
    assert "| 1 | is held back | 8 | 16 | 9.0 |" in text_
    assert "at least 256 times with 64 KiB" in text_ and "vPipe : native is 2.00" in text_
    assert len(report.summary_lines(bench)) == 5


def trace(*events):
    """Of CPU 0 and then 1, as xentrace writes it: (CPU, time, event, its words)."""
    data = b""
    for cpu in 0, 1:
        data += struct.pack("<III", 0x2001F003, cpu, 0)
        for on, time, event, *words in events:
            if on == cpu:
                data += struct.pack(f"<IQ{len(words)}i", 1 << 31 | len(words) << 28 | event,
                                    time, *words)
    return data


def test_wakes():
    guest, other, wake, run_ = 1 << 16, 2 << 16, 0x21211, 0x21101
    data = trace(
        (0, 1000, wake, guest), (0, 1001, 0x2220D, guest, 1, 5), (0, 1002, 0x22206, 1),
        (1, 2000, run_, guest),
        (0, 5000, wake, guest), (0, 5001, 0x22205, other, 9, -4), (0, 5002, 0x28004, 1),
        (0, 5003, 0x22206, 0), (1, 2_005_000, run_, guest),
        (0, 3_000_000, wake, other), (1, 3_000_100, run_, other),
        (0, 4_000_000, wake, guest), (0, 4_000_001, 0x22202, guest, 0), (0, 4_000_002, 0x22215),
        (0, 4_000_003, 0x22206, 1), (1, 4_500_000, run_, guest),
        (0, 9_000_000, wake, guest))
    assert wakes.wakes(data) == {"may preempt": [0.001], "has less credit": [2.0],
                                 "is held back": [0.5]}
    with pytest.raises(LabError):
        wakes.wakes(data + struct.pack("<II", 0x1001F001, 0))


def test_figures():
    """What is reported is measured."""
    class Stage:
        virtual, sizes = False, (1024, 64, 128, 256)
    for name, figure in FIGURES.items():
        if hasattr(figure.run, "args"):
            wanted = figure.run.args[0](Stage)
            assert len(set(wanted)) == len(wanted), name
            assert all(any(way.name == case.way for way in WAYS[case.pipe]) for case in wanted)


def test_failures():
    cells = Cells({"cells": [{**cell([1]), "runs": [{"error": "no"}]}]})
    assert cells.failures() == ["file_to_socket, vpipe, 0 busy: no"]
    assert cells.get("mb_per_s", way="vpipe") is None
