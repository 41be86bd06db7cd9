"""System tests run in the lab: real Xen, dom0, guest and peer (lab/lab.py)."""

import json
import os
import pathlib
import sys

import pytest

TOP = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "lab"))
sys.path.append(str(TOP / "bench"))     # behind the tests' own pipes.py
from lab import Lab, LabError  # noqa: E402
from pipes import FILESYSTEMS, make  # noqa: E402
from rig import Rig  # noqa: E402


@pytest.fixture(scope="session")
def _lab():
    # LAB='{"dom0_vcpus": 2, "guest_vcpus": 2}' runs the tests in another one.
    # An hour: all the long tests together take more than the lab allows by itself.
    with Lab(**{"timeout": 3600, **json.loads(os.environ.get("LAB", "{}"))}) as lab:
        yield lab


@pytest.fixture
def lab(_lab, request):
    """The running lab: restored when a test before has broken it."""
    if getattr(_lab, "suspect", False) and not _lab.healthy():
        _lab.restore()
    _lab.suspect = True
    yield _lab
    try:
        bad = _lab.check_logs()
    except LabError as error:
        bad = [f"the lab died: {error}", *_lab.post_mortem()]
    assert not bad, "bad lines in the logs:\n" + "\n".join(bad)
    _lab.suspect = request.node.rep_call.failed or getattr(_lab, "rig_broken", False)


@pytest.fixture
def rig(lab, request):
    """Modules loaded, guest attached; made anew when a test before has failed in it."""
    rig = getattr(lab, "rig", None)
    if rig is None or lab.rig_broken:
        if rig is not None:
            lab.restore()
        lab.rig = rig = Rig(lab)
    lab.rig_broken = True
    yield rig
    rig.settle()
    lab.rig_broken = request.node.rep_call.failed


@pytest.fixture
def fs(rig, request):
    """The rig with a fresh filesystem at /fs, which is checked afterwards."""
    yield from make(rig, *getattr(request, "param", FILESYSTEMS[0]))


def pytest_configure(config):
    config.addinivalue_line("markers", "long: for machines that nobody waits for")


def pytest_collection_modifyitems(items):
    """Those of the lab last: they break it, and the next rig takes its time."""
    items.sort(key=lambda item: item.path.name == "test_lab.py")


@pytest.hookimpl(tryfirst=True, hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    setattr(item, "rep_" + report.when, report)
