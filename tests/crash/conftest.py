"""Crash tests run in the lab, as system tests do, but with machines that die."""

import json
import os
import pathlib
import sys

import pytest

TESTS = pathlib.Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS / "system"), str(TESTS.parent / "lab")]
from lab import Lab  # noqa: E402
from crashrig import CrashRig  # noqa: E402


@pytest.fixture(scope="session")
def lab():
    with Lab(**json.loads(os.environ.get("LAB", "{}"))) as lab:
        lab.fresh = True    # no guest or module of it was used yet
        yield lab


@pytest.fixture
def rig(lab):
    """Of a machine that is not used otherwise, and whose logs are clean at the end."""
    if not lab.fresh:
        lab.restore()
    lab.fresh = False
    yield CrashRig(lab)
    bad = lab.check_logs()
    assert not bad, "bad lines in the logs:\n" + "\n".join(bad)
