"""
From several measurements to one figure, or to the statement that there is none. Pure.

The spread of values is half of what lies between the lowest and the highest, as a part of
the median: with the few rounds that an emulation allows, nothing finer says more.
"""

import math
import statistics
from collections import namedtuple

NOISY = 0.25        # of the spread; more is no figure
SAFETY = 4          # standard deviations in the tolerance
LEAST = 0.02        # and what it is at least, as a part: less is no difference

Summary = namedtuple("Summary", "median low high number")


def summary(values):
    """None when there are no values."""
    values = [value for value in values if value is not None]
    if not values:
        return None
    return Summary(statistics.median(values), min(values), max(values), len(values))


def spread(of):
    if of.median == 0:
        return 0 if of.low == of.high else math.inf
    return (of.high - of.low) / 2 / abs(of.median)


def noisy(of):
    """One value alone does not tell how far it is from the next: it is taken."""
    return of.number > 1 and spread(of) > NOISY


def text(of, digits=1):
    """As a cell of a table."""
    if of is None:
        return "-"
    if max(abs(of.low), abs(of.high)) < 0.5 / 10 ** digits:
        return f"{0:.{digits}f}"        # how noisy, nobody can see
    if noisy(of):
        return f"noisy ({of.low:.{digits}f} to {of.high:.{digits}f})"
    return f"{of.median:.{digits}f}" + (f" ± {spread(of):.0%}" if of.number > 1 else "")


def ratio(of, to):
    """Of the medians; None where one of them means nothing."""
    if of is None or to is None or noisy(of) or noisy(to) or not to.median:
        return None
    return of.median / to.median


def tolerance(values):
    """
    How far a later measurement, and so the more the median of some, may be from the median of
    these: in their own unit, since a part of what is nearly nothing says nothing.
    """
    return max(SAFETY * statistics.stdev(values), LEAST * abs(statistics.median(values)))


def crossing(sizes, ours, theirs):
    """
    The smallest of the sizes from which on ours is never slower; None: there is none. Figures
    are rates; None is a noisy one, and breaks the row.
    """
    found = None
    for size, our, their in zip(sizes, ours, theirs, strict=True):
        if our is None or their is None or our < their:
            found = None
        elif found is None:
            found = size
    return found
