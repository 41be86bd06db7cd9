"""
out/bench.md: of each figure what the paper showed (section 5.1; its figures have no numbers
in the text, so what it says of them), what we see, and why they differ.
"""

import math
from statistics import median

import plot
from breakeven import KINDS, SIZES, WAYS
from cases import ORDINARY, PIPES
from figures import FEW, FIGURES, LETTERS, NOTHING, SIZE
from results import VIRTUAL, Cells
from summary import LEAST, crossing, noisy, ratio, summary, text

PAPER = {
    "fig4a": "With no other VM on the core, sendfile() and vPipe both reach the 1 Gbit/s link. "
             "sendfile() falls with each co-located VM; vPipe stays the same.",
    "fig4b": "As file to socket, with a file opened with O_SYNC: vPipe stays the same with any "
             "number of co-located VMs.",
    "fig4b-sync": "The same figure, with O_SYNC as there.",
    "fig4c": "A proxy in the VM: read-write mode falls with the number of co-located VMs, vPipe "
             "does not.",
    "fig4d": "vPipe is better than cp, by less than in the other three: source and copy are on "
             "one physical disk, which is the bottleneck.",
    "fig4d-one": "The same figure: source and copy on one disk, as there.",
    "fig5": "With two co-located VMs, from 64 MB to 1 GB: the improvement does not depend on the "
            "size; sendfile() is slightly better with the larger files.",
    "fig6": "For 1 GB: almost no CPU time in the VM with vPipe. In dom0 the thread that reads the "
            "image takes about the same; netback (about 20 % of a CPU) and blkback (7-9 %) "
            "fall away with vPipe.",
    "breakeven": "Small transfers are not among the microbenchmarks; of the web server it says "
                 "that files of 2 MB were slower with vPipe.",
}
# At a time: by the way "read 64 KiB", and at most by vPipe (frontend/feed.c).
READ_BYTES, INTAKE_BYTES = 64 << 10, 15 << 20
WAY_NAMES = {"vpipe": "**vPipe**", "native": "native dom0"}


def number(value, digits=2):
    return "no figure" if value is None else f"{value:.{digits}f}"


def table(head, rows):
    return ["", "| " + " | ".join(head) + " |", "|" + "---|" * len(head),
            *("| " + " | ".join(row) + " |" for row in rows), ""]


def shown(way):
    return WAY_NAMES.get(way, way)


# Throughput, over the number of busy domains or over sizes


def rate(cells, way, **where):
    """In brackets as a part of native under the same circumstances."""
    of = cells.ratio("mb_per_s", {"way": way, **where}, {"way": "native", **where})
    part = "" if of is None or way == "native" else f" ({of:.2f})"
    return text(cells.get("mb_per_s", way=way, **where)) + part


def rates(cells, over):
    """A row for each way."""
    columns = cells.values(over)
    rows = [[shown(way), *(rate(cells, way, **{over: x}) for x in columns)]
            for way in cells.values("way")]
    return table(["MB/s (part of native)", *(f"{x} MiB" if over == "mebibytes" else f"{x} busy"
                                            for x in columns)], rows)


def of_own(cells, way, burners):
    return cells.ratio("mb_per_s", {"way": way, "burners": burners}, {"way": way, "burners": 0})


def why_co_located(name, cells, virtual):
    pipe, most = cells.values("pipe")[0], max(cells.values("burners"))
    other = ORDINARY[pipe]
    none = cells.ratio("mb_per_s", {"way": "vpipe", "burners": 0}, {"way": other, "burners": 0})
    full = cells.ratio("mb_per_s", {"way": "vpipe", "burners": most},
                       {"way": other, "burners": most})
    lines = [f"- vPipe : {other} is {number(none)} with nothing else busy and {number(full)} with "
             f"{most} busy domains. The paper's 1 Gbit/s link hides the first of these: there both "
             "reach it. Here no link is the limit, but the CPU that moves the bytes."]
    ours, limit = of_own(cells, "vpipe", most), of_own(cells, "native", most)
    if ours is not None and limit is not None:
        cause = ("two CPUs that are busy have half of the virtual time each" if virtual else
                 "three emulated CPUs share the host's two")
        lines.append(
            f"- With {most} busy domains vPipe has {ours:.2f} of its own speed, native dom0, which "
            f"no guest is part of, {limit:.2f}. What native loses the emulator takes ({cause}); "
            f"set off against that vPipe keeps {ours / limit:.2f}. On hardware dom0 has its own "
            "CPU, so compare with native of the same column.")
    lines += monotonic(cells, other)
    if name == "fig4d":
        lines.append("- The disks here are RAM disks: the bottleneck that the paper had is not "
                     "there.")
    if name == "fig4b":
        lines.append("- All is on the disk when the time ends (fdatasync), but not after each "
                     "write, as with the paper's O_SYNC (fig4b-sync): ordinary calls do better "
                     "here.")
    if name == "fig4b-sync":
        lines.append(why_sync(cells))
    return lines


def why_sync(cells):
    """Whoever writes more at a time waits less often for the disk and the journal."""
    bytes_ = cells.values("mebibytes")[0] << 20
    limit = cells.ratio("mb_per_s", {"way": "vpipe", "burners": 0}, {"way": "native", "burners": 0})
    return ("- With O_SYNC each write(2) is on the disk, and the file's new size in the journal, "
            f"before the next one begins: at least {bytes_ // READ_BYTES} times with 64 KiB, in "
            "dom0 too. vPipe's own open file has the flag as well (frontend/file.c), but one of "
            "its writes takes what has arrived, up to 15 MiB, while the next bytes arrive: so "
            f"{-(-bytes_ // INTAKE_BYTES)} times at least. Native is not the limit here that it is "
            f"elsewhere: vPipe : native is {number(limit)}.")


def monotonic(cells, way):
    """Does it fall with each more?"""
    row = [cells.get("mb_per_s", way=way, burners=n) for n in cells.values("burners")]
    if any(one is None or noisy(one) for one in row):
        return [f"- {way}: some figures are too noisy to say how it falls."]
    rises = [n for n in range(1, len(row)) if row[n].low > (1 + LEAST) * row[n - 1].high]
    if not rises:
        return []
    return [f"- {way} is *better* with {n} busy domains than with {n - 1}: see the schedulers."
            for n in rises]


def why_sizes(cells):
    most = cells.values("mebibytes")
    other = next(way for way in cells.values("way") if way not in ("vpipe", "native"))
    gains = [cells.ratio("mb_per_s", {"way": "vpipe", "mebibytes": x},
                         {"way": other, "mebibytes": x}) for x in most]
    known = [gain for gain in gains if gain is not None]
    if not known:
        return ["- Too noisy to compare."]
    return [f"- vPipe : {other} is " + ", ".join(number(gain) for gain in gains)
            + f" for these sizes; it varies by {max(known) / min(known) - 1:.0%}.",
            *why_domu(cells, other)]


def why_domu(cells, other):
    """Its CPU time: a hand-over and a return are in each transfer, whatever it moves."""
    parts = [cells.ratio("domu_cpu_s_per_gb", {"way": "vpipe", "mebibytes": x},
                         {"way": other, "mebibytes": x}) for x in cells.values("mebibytes")]
    return ["- The domU's CPU time with vPipe is "
            + ", ".join("no figure" if part is None else f"{part:.1%}" for part in parts)
            + f" of that of {other}: the hand-over and the return take the same for each size."]


# CPU time


def processors(cells):
    rows = []
    kinds = ("vpipe", "netback", "blkback", "softirq", "worker")
    for cell in moving(cells):
        which = {"pipe": cell["pipe"], "way": cell["way"], "mebibytes": cell["mebibytes"]}
        parts = [cells.get(f"{metric}_per_gb", **which)
                 for metric in ("domu_cpu_s", "dom0_cpu_s", "xen_cpu_s")]
        threads = [cells.get(metric, **which) for metric in
                   (*(f"threads.{kind}_per_gb" for kind in kinds), "rest_of_dom0_per_gb")]
        rows.append([PIPES[cell["pipe"]], shown(cell["way"]), *(text(one, 2) for one in parts),
                     *("-" if one is None else f"{one.median:.2f}" for one in threads)])
    return table(["CPU s / GB", "", "domU", "dom0", "rest of Xen",
                  *(f"dom0: {kind}" for kind in kinds), "dom0: the rest"], rows)


def moving(cells):
    """Not those that are there for what a program takes without a transfer."""
    return [cell for cell in cells.cells if cell["mebibytes"] != NOTHING]


def of_transfer(cells, pipe):
    """The domU's CPU time with vPipe, of the ordinary way's, both without what nothing takes."""
    ours, theirs, nothing = (
        cells.get("domu_cpu_s", pipe=pipe, way=way, mebibytes=size)
        for way, size in (("vpipe", SIZE), (ORDINARY[pipe], SIZE), (ORDINARY[pipe], NOTHING)))
    if None in (ours, theirs, nothing):
        return "no figure"
    part = (ours.median - nothing.median) / (theirs.median - nothing.median)
    found = f"{part:.2%}" if part > 0 else "too little to measure"
    return (f"{found} (a transfer of nothing takes {1000 * nothing.low:.1f} to "
            f"{1000 * nothing.high:.1f} ms, one with vPipe {1000 * ours.low:.1f} to "
            f"{1000 * ours.high:.1f} ms, one with {ORDINARY[pipe]} {1000 * theirs.median:.0f} ms)")


def why_cpu(cells):
    lines = []
    for pipe in cells.values("pipe"):
        of, to = ({"pipe": pipe, "way": way, "mebibytes": SIZE}
                  for way in ("vpipe", ORDINARY[pipe]))
        domu, dom0 = (cells.ratio(metric, of, to)
                      for metric in ("domu_cpu_s_per_gb", "dom0_cpu_s_per_gb"))
        limit = cells.ratio("dom0_cpu_s_per_gb", of, {**of, "way": "native"})
        lines.append(f"- {PIPES[pipe]}: the domU's CPU time with vPipe is {number(domu, 3)} of "
                     f"that with {ORDINARY[pipe]}, dom0's {number(dom0)} of it and "
                     f"{number(limit)} of that of native. Without the program's start, which is "
                     f"the same for both, the domU's is {of_transfer(cells, pipe)}.")
    return [*lines,
            "- The disks are RAM disks that blkback uses without a loop thread, so the paper's "
            "loop thread has no column here. Time in softirqs counts for the thread that was "
            "interrupted; kernel threads and dom0's whole are different clocks (its scheduler's, "
            "Xen's)."]


# Others


def caches(cells):
    rows = [[shown(way), *(text(cells.get("mb_per_s", way=way, cache=cache))
                           for cache in ("cold", "warm"))] for way in cells.values("way")]
    return table(["MB/s", "caches dropped", "the same transfer came before"], rows)


def disks(cells):
    which = cells.values("disk")
    rows = [[PIPES[pipe], shown(way), *(rate(cells, way, pipe=pipe, disk=disk) for disk in which)]
            for pipe in cells.values("pipe") for way in (ORDINARY[pipe], *FEW)]
    return table(["MB/s (part of native)", "", *(f"{disk} disk" for disk in which)], rows)


def why_disks(cells):
    """Of each pipe: what becomes of the ratios when the disk is another one."""
    lines = []
    for pipe in cells.values("pipe"):
        def ratios(to, pipe=pipe):
            return [cells.ratio("mb_per_s", {"pipe": pipe, "way": "vpipe", "disk": disk},
                                {"pipe": pipe, "way": to, "disk": disk})
                    for disk in ("emulated", "RAM")]
        other = ORDINARY[pipe]
        gains, limits = ratios(other), ratios("native")
        left = cells.ratio("mb_per_s", {"pipe": pipe, "way": "native", "disk": "emulated"},
                           {"pipe": pipe, "way": "native", "disk": "RAM"})
        line = (f"- {PIPES[pipe]}: vPipe : {other} is {number(gains[0])} on the emulated disk and "
                f"{number(gains[1])} on the RAM disk, vPipe : native {number(limits[0])} and "
                f"{number(limits[1])}; native has {number(left)} of its speed on the RAM disk")
        if None not in gains:
            near, far = (abs(math.log(gain)) for gain in gains)
            line += (": the time that the disk takes is the same for both ways, and evens them out"
                     if near < far else ": the disk evens out nothing")
        lines.append(line + ".")
    return lines


def small_rates(figure, kind):
    """way -> size -> summary of MB/s."""
    found = {way: {} for way in WAYS}
    for row in figure["small"]:
        if row["kind"] == kind and row["seconds"]:
            found[row["way"]][row["bytes"]] = summary(
                [row["bytes"] / 1e6 / seconds for seconds in row["seconds"]])
    return found


def size_text(size):
    return f"{size >> 20} MiB" if size >= 1 << 20 else f"{size >> 10} KiB"


def breakeven(figure):
    lines, points = [], []
    for kind in KINDS:
        found = small_rates(figure, kind)
        sizes = [size for size in SIZES if size in found["vpipe"]]
        rows = [[shown(way), *(text(found[way][size]) for size in sizes)] for way in WAYS]
        rows.append(["ratio", *(number(ratio(found["vpipe"][size], found["sendfile"][size]))
                                for size in sizes)])
        lines += table([f"MB/s, {kind}", *map(size_text, sizes)], rows)
        medians = [[None if noisy(found[way][size]) else found[way][size].median for size in sizes]
                   for way in ("vpipe", "sendfile")]
        point = crossing(sizes, *medians) if sizes else None
        points.append(f"- {kind}: vPipe is never slower "
                      + (f"from {size_text(point)} on." if point else "at no size measured."))
    return lines, points


def mean(stats, whole, number_of):
    return f"{stats[whole] / stats[number_of]:.0f}" if stats.get(number_of) else "-"


def costs(figure):
    rows = []
    for row in figure["costs"]:
        per = 1 / row["number"]
        grants = row["grants"]
        stats, dom0, guest = row["stats"], row["events_dom0"], row["events_guest"]
        # The guest's serial agent and dom0's own timer are not the transfer's.
        to_dom0 = sum(dom0.get(name, 0) for name in dom0 if name.startswith(("vif1.", "blkif"))
                      or name == "vpipe-back")
        to_guest = sum(guest.get(name, 0) for name in guest
                       if name.startswith(("vif", "blkif", "vpipe")))
        rows.append([size_text(row["bytes"]), row["kind"], shown(row["way"]),
                     f"{stats.get('requests_total', 0) * per:.2f}",
                     f"{dom0.get('vpipe-back', 0) * per:.2f}",
                     f"{stats.get('events_total', 0) * per:.2f}",
                     f"{to_dom0 * per:.1f}", f"{to_guest * per:.1f}",
                     f"{row['wakeups_guest'] * per:.1f}" if "wakeups_guest" in row else "-",
                     *(f"{grants[name] * per:.1f}" for name in ("copied", "mapped", "unmapped")),
                     mean(stats, "attach_us_total", "attaches_total"),
                     mean(stats, "return_us_total", "detaches_total"),
                     f"{stats.get('retransmits_total', 0)} / {row['retransmits_guest']}"])
    return table(["of each transfer", "connection", "", "ring requests", "vPipe events to dom0",
                  "to the guest", "all events to dom0", "to the guest", "wake-ups of the guest",
                  "grants copied", "mapped", "unmapped", "attach µs", "return µs",
                  "retransmits dom0 / guest"], rows)


def growth(figure):
    metrics = (("dom0_cpu_s_per_gb", 3), ("domu_cpu_s_per_gb", 3), ("requests_per_gb", 0))
    rows = [[row["what"], str(row["number"]),
             *(text(summary([run[metric] for run in row["runs"]]), digits)
               for metric, digits in metrics)] for row in figure["growth"]]
    return table(["", "", "dom0 CPU s / GB", "domU CPU s / GB", "ring requests / GB"], rows)


def why_growth(figure):
    """Of each kind: what a GB takes with the last, as a part of that with the first."""
    kinds = {}
    for row in figure["growth"]:
        kinds.setdefault(row["what"], []).append(row)
    lines = []
    for what, rows in kinds.items():
        if len(rows) > 1:
            cpu, requests = (ratio(*(summary([run[metric] for run in row["runs"]])
                                     for row in (rows[-1], rows[0])))
                             for metric in ("dom0_cpu_s_per_gb", "requests_per_gb"))
            lines.append(f"- {what}, from {rows[0]['number']} to {rows[-1]['number']}: a GB then "
                         f"takes {number(cpu)} of dom0's CPU time and {number(requests)} of the "
                         "requests.")
    return lines


def kibibytes(row, name, divisor):
    """What one operation takes may be less than what else comes and goes meanwhile."""
    return f"{row[name] / divisor:.0f}" if row[name] > 0 else "noisy"


def memory(figure):
    rows = [[str(row["asked"]), str(row["open"]),
             *(kibibytes(row, f"{host}_kib", divisor) for divisor in (row["asked"], 1024)
               for host in ("dom0", "guest")),
             f"{row['chunks'] / 16:.0f}"] for row in figure["memory"]]
    return table(["operations", "open in dom0", "KiB each, dom0", "KiB each, guest",
                  "MiB, dom0", "MiB, guest", "of it MiB of pages of data in dom0"], rows)


SCHEDULERS = ("credit", "credit-1ms", "credit2", "credit2-0us")
# What a guest's throughput is made of: its share of the CPU, by the CPU time it takes.
MADE_OF = (("MB/s", "mb_per_s", 1), ("of the CPU, %", "domu_share", 1),
           ("CPU s / GB", "domu_cpu_s_per_gb", 2), ("events to the guest / GB",
                                                   "events_guest_per_gb", 0))


NO_WAKES = {"number": 0, "ms": 0, "longest": 0}


def schedulers(figures, suffix):
    lines = []
    for name in SCHEDULERS:
        if name + suffix not in figures:
            continue
        cells = Cells(figures[name + suffix])
        busy = cells.values("burners")
        lines += [f"**{name}**", *rates(cells, "burners"), "sendfile:"]
        rows = [[title, *(text(cells.get(metric, way="sendfile", burners=n), digits)
                          for n in busy)] for title, metric, digits in MADE_OF]
        lines += table(["", *(f"{n} busy" for n in busy)], rows)
        for n in busy[1:]:
            lines.append(f"- with {n} busy, of its own speed with none: sendfile "
                         f"{number(of_own(cells, 'sendfile', n))}, vPipe "
                         f"{number(of_own(cells, 'vpipe', n))}, native "
                         f"{number(of_own(cells, 'native', n))}")
        lines += [*monotonic(cells, "sendfile"), *made_of(cells), "",
                  *waits(figures[name + suffix].get("wakes", ())), ""]
    return lines


def waits(traced):
    """Of the guest for its CPU, out of Xen's trace: medians of the rounds."""
    rows = []
    for busy in dict.fromkeys(one["burners"] for one in traced):
        runs = [one["wakes"] for one in traced if one["burners"] == busy]
        for reason in dict.fromkeys(reason for run in runs for reason in run):
            of = [run.get(reason, NO_WAKES) for run in runs]
            rows.append([str(busy), reason,
                         *(f"{median(one[what] for one in of):.{digits}f}"
                           for what, digits in (("number", 0), ("ms", 0))),
                         f"{max(one['longest'] for one in of):.1f}"])
    return table(["busy", "who wakes", "times", "waits, ms together", "the longest, ms"], rows)


def made_of(cells):
    """Is it the share of the CPU that changes, or what a byte takes?"""
    busy = cells.values("burners")
    shares, needs = ([cells.get(metric, way="sendfile", burners=n) for n in busy]
                     for metric in ("domu_share", "domu_cpu_s_per_gb"))
    if any(one is None for one in (*shares, *needs)):
        return []
    return [f"- From {a} to {b} busy domains the guest's share of the CPU changes by a factor of "
            f"{number(ratio(shares[b], shares[a]))}, what a byte takes of it by "
            f"{number(ratio(needs[b], needs[a]))}; a fair share is {100 / (b + 1):.0f} %."
            for a, b in zip(busy, busy[1:])]


def section(name, figure, out):
    """Lines of one figure; its drawing is beside the report."""
    base = name.removesuffix(VIRTUAL)
    virtual = base != name
    lines = [f"## {name}: {FIGURES[base].title}" + (" (virtual time)" if virtual else ""), ""]
    paper = PAPER.get(base) or PAPER.get(base[:4])
    if paper:
        lines += [f"The paper: {paper}", ""]
    drawing, drawn = out / f"{name}.svg", False
    if "cells" in figure:
        cells = Cells(figure)
        if base.startswith("fig4"):
            drawn = plot.sweep(drawing, figure, "burners", "busy domains on the guest's CPU")
            lines += [*rates(cells, "burners"), *why_co_located(base, cells, virtual)]
            if plot.sweep(out / f"{name}-relative.svg", figure, "burners",
                          "busy domains on the guest's CPU", to="native"):
                lines += ["", f"![{name}, as parts of native]({name}-relative.svg)"]
        elif base.startswith("fig5"):
            drawn = plot.sweep(drawing, figure, "mebibytes", "MiB")
            lines += [*rates(cells, "mebibytes"), *why_sizes(cells)]
        elif base == "fig6":
            rows = [(f"{cell['pipe']} {cell['way']}".replace("_", " "),
                     {part: getattr(cells.get(f"{part}_cpu_s_per_gb", pipe=cell["pipe"],
                                              way=cell["way"], mebibytes=SIZE), "median", 0)
                      for part in ("domu", "dom0", "xen")}) for cell in moving(cells)]
            drawn = plot.stacked(drawing, rows, ("domu", "dom0", "xen"), "CPU s / GB")
            lines += [*processors(cells), *why_cpu(cells)]
        elif base == "caches":
            lines += caches(cells)
        elif base == "disk":
            lines += [*disks(cells), *why_disks(cells)]
        for failure in cells.failures():
            lines.append(f"- FAILED: {failure}")
        if cells.noisy():
            lines.append(f"- {cells.noisy()} cells are too noisy for a figure.")
    elif base == "breakeven":
        rows, points = breakeven(figure)
        lines += [*rows, *points]
        drawn = plot.small(drawing, small_rates(figure, "kept"), "kept connection")
    elif base == "costs":
        lines += costs(figure)
    elif base == "growth":
        lines += [*growth(figure), *why_growth(figure)]
    elif base == "memory":
        lines += memory(figure)
    if drawn:
        lines += ["", f"![{name}]({name}.svg)"]
    return [*lines, ""]


def report(bench, out):
    """All of it, as text; drawings go to out."""
    figures = bench["figures"]
    lines = ["# Benchmark", "",
             f"Xen {bench['xen_version']}, dom0 {bench['dom0_kernel']}, domU "
             f"{bench['domu_kernel']}, emulated (TCG): compare, do not quote. Disks are RAM disks, "
             "and caches cold, where nothing else is said. Figures are medians, ± half of what "
             "lies between the lowest and the highest.", ""]
    order = [name + suffix for name in FIGURES for suffix in ("", VIRTUAL)]
    for name in (name for name in order if name in figures):
        base = name.removesuffix(VIRTUAL)
        suffix = name[len(base):]
        if base in SCHEDULERS:      # one section for all of them
            if base != next(one for one in SCHEDULERS if one + suffix in figures):
                continue
            lines += [f"## Schedulers{' (virtual time)' if suffix else ''}", "",
                      *schedulers(figures, suffix), ""]
        else:
            lines += section(name, figures[name], out)
    return "\n".join(lines)


def summary_lines(bench):
    """
    The three of the README, out of Figure 4: in virtual time, where there are such, since
    that depends on no machine.
    """
    figures = bench["figures"]
    lines = ["| emulated (TCG), so ratios | vPipe : ordinary | with 3 busy domains "
             "| vPipe : native | with 3 busy domains | domU CPU, vPipe : ordinary "
             "| dom0 CPU, vPipe : native |", "|---|---|---|---|---|---|---|"]
    for letter in "abc":
        pipe, name = LETTERS[letter], f"fig4{letter}"
        figure = figures.get(name + VIRTUAL) or figures.get(name)
        if not figure:
            continue
        cells = Cells(figure)

        def of(metric, burners, way, cells=cells):
            return cells.ratio(metric, {"way": "vpipe", "burners": burners},
                               {"way": way, "burners": burners})
        other = ORDINARY[pipe]
        domu = of("domu_cpu_s_per_gb", 0, other)
        lines.append(f"| {PIPES[pipe]}, ordinary is {other} | "
                     f"{number(of('mb_per_s', 0, other))} | "
                     f"{number(of('mb_per_s', 3, other))} | "
                     f"{number(of('mb_per_s', 0, 'native'))} | "
                     f"{number(of('mb_per_s', 3, 'native'))} | "
                     f"{'no figure' if domu is None else f'{domu:.1%}'} | "
                     f"{number(of('dom0_cpu_s_per_gb', 0, 'native'))} |")
    return lines
