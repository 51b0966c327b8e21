"""Whether a disk holds a run."""

from collections import namedtuple

import numpy as np
import pytest

from featscope.capturing import estimate
from featscope.capturing.estimate import Footprint, refuse_what_does_not_fit
from featscope.errors import OutputError
from featscope.records import CapturedMap

MB = 1 << 20


@pytest.fixture
def footprint():
    """Of one sample: a megabyte."""
    found = Footprint()
    found.put(CapturedMap("neck", "FPN", "", 0, 0, 0, [], "neck.fpn"), np.zeros((1, 4, 256, 256), np.float32))
    return found


def test_what_waits_to_be_written_takes_room_too(footprint, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(estimate.shutil, "disk_usage", lambda folder: usage(100 * MB, 90 * MB, 10 * MB))
    refuse_what_does_not_fit(footprint, 1, 10, tmp_path, waiting=0)
    refuse_what_does_not_fit(footprint, 1, 7, tmp_path, waiting=3 * MB)
    with pytest.raises(OutputError, match=r"would take 8\.4 MB more, but .* has 7\.3 MB free"):
        refuse_what_does_not_fit(footprint, 1, 8, tmp_path, waiting=3 * MB)
