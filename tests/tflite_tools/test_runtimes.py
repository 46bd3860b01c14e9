"""The table of runtimes: equal to the reference, and read the right way round."""

import json

import pytest

from tflite_tools import runtimes


def test_equal_to_the_reference(shared):
    reference = json.loads((shared / "reference/op_versions.json").read_text())["min_runtime"]
    wanted = {(name, int(v)): first for name, row in reference.items() for v, first in row.items()}
    found = {
        (name, version): runtimes.first_release(name, version)
        for name in {*reference, *runtimes._FIRST}
        for version in range(20)
    }
    assert {key: first for key, first in found.items() if first is not None} == wanted


def test_what_is_not_in_the_table():
    assert runtimes.first_release("CONV_2D", 3) == "1.14.0"
    assert runtimes.first_release("CONV_2D", 0) is None
    assert runtimes.first_release("CONV_2D", 99) is None
    assert runtimes.first_release("BROADCAST_TO", 1) is None
    assert runtimes.first_release("TFLite_Detection_PostProcess", 1) is None


def test_newest_by_number_and_not_by_letters():
    assert runtimes.newest(["2.3.0", "2.14.0", "1.15.0", "2.9.0"]) == "2.14.0"
    assert runtimes.newest([]) is None


@pytest.mark.parametrize("release", ["1.14.0", "2.5", "2.14.0", "2.21.0"])
def test_versions_of_a_release(release):
    """Each version runs there and the next one does not."""
    versions = runtimes.versions_in(release)
    limit = runtimes.release_number(release)
    assert "CONV_2D" in versions
    for name, version in versions.items():
        assert runtimes.release_number(runtimes.first_release(name, version)) <= limit
        later = runtimes.first_release(name, version + 1)
        assert later is None or runtimes.release_number(later) > limit
    assert "CALL_ONCE" not in runtimes.versions_in("2.4.0")


@pytest.mark.parametrize("release", ["", "2", "two", "2.5.0rc1", "-1.2", "2.5.0.1"])
def test_no_release(release):
    with pytest.raises(ValueError, match="no TFLite release"):
        runtimes.versions_in(release)
