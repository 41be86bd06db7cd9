"""Drawings, by gnuplot, as SVG."""

import shutil
import subprocess

from results import Cells
from summary import noisy

COLOURS = {"vpipe": "#c00000", "native": "#404040"}


def _title(way):
    return {"vpipe": "vPipe", "native": "native dom0"}.get(way, way)


def _run(path, data, lines):
    if not shutil.which("gnuplot"):
        return False
    script = "\n".join([f"$data << EOD\n{data}\nEOD", "set terminal svg size 720,400 noenhanced",
                        f"set output '{path}'", "set datafile missing '-'", "set grid",
                        "set key outside right", *lines])
    subprocess.run(["gnuplot"], input=script + "\n", text=True, check=True)
    return True


def _columns(names, first=2):
    """A line with error bars for each name; three columns of data each."""
    parts = []
    for n, name in enumerate(names):
        column, colour = first + 3 * n, COLOURS.get(name)
        style = f"lw 2 lc rgb '{colour}'" if colour else "lw 2"
        parts.append(f"$data using 1:{column}:{column + 1}:{column + 2} with yerrorlines "
                     f"{style} title '{_title(name)}'")
    return ", ".join(parts)


def _row(x, summaries):
    cells = [f"{one.median} {one.low} {one.high}" if one and not noisy(one) else "- - -"
             for one in summaries]
    return " ".join([str(x), *cells])


def _part(of, whole):
    """Of a summary; without a figure where that has none."""
    if of is None or whole is None or noisy(whole) or not whole.median:
        return None
    return of._replace(median=of.median / whole.median, low=of.low / whole.median,
                       high=of.high / whole.median)


def sweep(path, figure, over, label, to=None):
    """
    Throughput over one of the cells' values, or, with `to`, as parts of that way's; a noisy
    cell is not drawn.
    """
    cells = Cells(figure)
    ways = cells.values("way")
    rows = []
    for x in cells.values(over):
        found = [cells.get("mb_per_s", way=way, **{over: x}) for way in ways]
        if to:
            found = [_part(one, found[ways.index(to)]) for one in found]
        rows.append(_row(x, found))
    unit = f"part of {_title(to)}" if to else "MB/s"
    logarithmic = ["set logscale x 2"] if over == "mebibytes" else ["set xrange [-0.2:3.2]",
                                                                    "set xtics 1"]
    return _run(path, "\n".join(rows), [
        f'set xlabel "{label}"', f"set ylabel '{unit}'", "set yrange [0:]", *logarithmic,
        f"plot {_columns(ways)}"])


def small(path, rates, kind):
    """rates: way -> size -> summary of MB/s."""
    ways = list(rates)
    rows = [_row(size / 1024, [rates[way].get(size) for way in ways]) for size in rates[ways[0]]]
    return _run(path, "\n".join(rows), [
        "set xlabel 'KiB'", "set ylabel 'MB/s'", "set logscale xy", f"set title '{kind}'",
        f"plot {_columns(ways)}"])


def stacked(path, rows, kinds, label):
    """rows: (name, kind -> value); a bar of parts for each."""
    data = "\n".join(" ".join([f'"{name}"', *(f"{parts.get(kind, 0):.5f}" for kind in kinds)])
                     for name, parts in rows)
    plots = ", ".join(f"$data using {n + 2}:xtic(1) title '{kind}'"
                      for n, kind in enumerate(kinds))
    return _run(path, data, [
        f"set ylabel '{label}'", "set style data histograms", "set style histogram rowstacked",
        "set style fill solid 0.8", "set boxwidth 0.6", "set yrange [0:]",
        "set xtics rotate by -30", f"plot {plots}"])
