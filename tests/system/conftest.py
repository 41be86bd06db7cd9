"""System tests run in the lab: real Xen, dom0, guest and peer (lab/lab.py)."""

import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "lab"))
from lab import Lab, LabError  # noqa: E402


@pytest.fixture(scope="session")
def _lab():
    with Lab() as lab:
        yield lab


@pytest.fixture
def lab(_lab):
    """The running lab: restored when a test before has broken it."""
    if not _lab.healthy():
        _lab.restore()
    yield _lab
    try:
        bad = _lab.check_logs()
    except LabError as error:
        bad = [f"the lab died: {error}", *_lab.post_mortem()]
    assert not bad, "bad lines in the logs:\n" + "\n".join(bad)


@pytest.fixture
def fresh_lab(_lab, lab):
    """The lab as of its snapshot, whatever tests did before."""
    _lab.restore()
    return lab
