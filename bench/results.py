"""What is in out/bench.json, as summaries. Pure."""

from summary import noisy, ratio, summary

VIRTUAL = "-virtual"    # the end of a figure's name there, when it was in virtual time


def value(run, metric):
    """Of one measurement; None of one that failed."""
    if "error" in run:
        return None
    if metric in run:
        return run[metric]
    if metric == "domu_share":                      # of the guest's CPU, in per cent
        return 100 * run["domu_cpu_s"] / run["seconds"]
    if metric == "rest_of_dom0_per_gb":             # programs, what they call, interrupts
        return (run["dom0_cpu_s"] - sum(run["threads"].values())) / (run["bytes"] / 1e9)
    if metric == "events_guest_per_gb":
        return sum(run["events_guest"].values()) / (run["bytes"] / 1e9)
    seconds, _, per = metric.partition("_per_gb")      # "domu_cpu_s_per_gb", "threads.vpipe_per_gb"
    del per
    kind, _, name = seconds.partition(".")
    part = run[kind].get(name, 0) if name else run[kind]
    return part / (run["bytes"] / 1e9)


class Cells:
    """The cells of a sweep."""

    def __init__(self, figure):
        self.cells = figure["cells"]

    def find(self, **wanted):
        return [cell for cell in self.cells
                if all(cell[name] == value for name, value in wanted.items())]

    def get(self, metric, **wanted):
        """Of the one cell that is so; None when it was not measured."""
        found = self.find(**wanted)
        return summary([value(run, metric) for run in found[0]["runs"]]) if found else None

    def ratio(self, metric, of, to):
        """of, to: what the two cells are."""
        return ratio(self.get(metric, **of), self.get(metric, **to))

    def values(self, name):
        """What this has in the figure, in order of appearance."""
        return list(dict.fromkeys(cell[name] for cell in self.cells))

    def failures(self):
        return [f"{cell['pipe']}, {cell['way']}, {cell['burners']} busy: {run['error']}"
                for cell in self.cells for run in cell["runs"] if "error" in run]

    def noisy(self, metric="mb_per_s"):
        found = (summary([value(run, metric) for run in cell["runs"]]) for cell in self.cells)
        return sum(1 for one in found if one and noisy(one))
