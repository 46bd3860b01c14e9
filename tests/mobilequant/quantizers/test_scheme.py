"""What a `Scheme` accepts, what it refuses and in which words; that it can be written down."""

import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mobilequant.quantizers import ESTIMATORS, GRIDS, Scheme
from mobilequant.quantizers.scheme import GRANULARITIES, RANGES, kept_of


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        *(
            ({"bits": bits}, "bits must be a whole number from 1 to 8, 'ternary', or 32")
            for bits in (0, 9, 16, -1, 8.0, 32.0, True, "8", "binary", None, math.nan, [8])
        ),
        ({"grid": "log"}, "grid must be one of .*'linear', 'affine'.*not 'log'"),
        ({"granularity": "row"}, "granularity must be one of .*'block'.*not 'row'"),
        ({"estimator": "magic"}, "estimator must be one of .*'lsq'.*not 'magic'"),
        ({"estimator": None}, "estimator must be one of .*not None"),
        ({"range": "max"}, "range must be one of .*'percentile'.*not 'max'"),
        *(({"block_size": size}, "block_size") for size in (0, -1, 64.0, True, None, "128")),
        *(
            ({"ridge": ridge}, "ridge must be 0 or larger")
            for ridge in (-1e-3, math.nan, math.inf, None, "0.01", True)
        ),
        ({"range_width": 2.0}, "range 'minmax' takes no range_width"),
        ({"range": "moving", "range_width": 0.9}, "range 'moving' takes no range_width"),
        *(
            ({"range": "std", "range_width": width}, "range_width is a number")
            for width in (0, -1.0, math.nan, math.inf, "2", True)
        ),
        ({"range": "percentile", "range_width": 1.1}, "a share up to 1; not 1.1"),
        ({"range": "percentile", "range_width": 0.0}, "a share up to 1; not 0.0"),
        *(
            ({"sparsity": pattern}, f"sparsity {pattern!r} is not 'N:M' with 0 < N < M")
            for pattern in ("4:2", "4:4", "0:4", "a:b", "2:", ":4", "2", "50%", "-2:4", "2:4:8", "")
        ),
        *(
            ({"sparsity": share}, "sparsity is 'N:M' or a share between 0 and 1")
            for share in (0, 0.0, 1, 1.0, -0.5, 2, math.nan, True, False, [0.5])
        ),
        ({"sparsity": "2:4", "grid": "affine"}, "sparsity needs a linear grid"),
        ({"sparsity": 0.5, "grid": "affine"}, "sparsity needs a linear grid"),
        ({"sparsity_ramp": 10}, "sparsity_ramp without sparsity"),
        ({"sparsity": "2:4", "sparsity_ramp": 10}, "only a share ramps up"),
        *(
            ({"sparsity": 0.5, "sparsity_ramp": ramp}, "sparsity_ramp counts training steps")
            for ramp in (-1, 2.5, True, None)
        ),
        *(
            ({flag: "no"}, f"{flag} is True or False")
            for flag in ("clip_gradient", "range_gradient")
        ),
        ({"estimator": "lsq", "bits": 1}, "'lsq' starts at 2 bits"),
        ({"bits": "ternary", "grid": "affine"}, "ternary .* need a linear grid"),
    ],
    ids=repr,
)
def test_what_does_not_fit_is_refused(arguments, message):
    with pytest.raises(ValueError, match=f"^Scheme: .*{message}"):
        Scheme(**arguments)


@st.composite
def schemes(draw):
    """Any valid scheme."""
    grid = draw(st.sampled_from(GRIDS))
    bits = draw(st.sampled_from([1, 2, 3, 4, 8, 32] + (["ternary"] if grid == "linear" else [])))
    estimator = draw(st.sampled_from([e for e in ESTIMATORS if bits not in (1, 32) or e != "lsq"]))
    rule = draw(st.sampled_from(RANGES))
    widths = {"std": (0.5, 4.0), "learned": (0.5, 4.0), "percentile": (0.1, 1.0)}.get(rule)
    width = draw(st.none() | st.floats(*widths)) if widths else None
    sparsity = draw(st.sampled_from([None, "2:4", "1:4", 0.5, 0.9])) if grid == "linear" else None
    return Scheme(
        bits=bits,
        grid=grid,
        granularity=draw(st.sampled_from(GRANULARITIES)),
        block_size=draw(st.integers(1, 512)),
        estimator=estimator,
        ridge=draw(st.floats(0, 1e6)),
        range=rule,
        range_width=width,
        clip_gradient=draw(st.booleans()),
        range_gradient=draw(st.booleans()),
        sparsity=sparsity,
        sparsity_ramp=draw(st.integers(0, 1000)) if isinstance(sparsity, float) else 0,
    )


@settings(max_examples=200, deadline=None)
@given(scheme=schemes())
def test_it_can_be_written_down_and_read_again(scheme):
    assert eval(repr(scheme)) == scheme
    assert Scheme(**scheme.get_config()) == scheme
    assert Scheme(**json.loads(json.dumps(scheme.get_config()))) == scheme
    assert hash(eval(repr(scheme))) == hash(scheme)


def test_repr_is_short():
    assert repr(Scheme()) == "Scheme(bits=8)"
    assert repr(Scheme(bits=2, range="std")) == "Scheme(bits=2, range='std')"
    assert repr(Scheme(bits="ternary", sparsity="2:4")) == "Scheme(bits='ternary', sparsity='2:4')"


def test_equal_schemes_are_one_key():
    assert len({Scheme(), Scheme(bits=8), Scheme(bits=4), Scheme(bits=4, ridge=0.01)}) == 2
    with pytest.raises(AttributeError):
        Scheme().bits = 4


def test_learned_step_size_brings_its_range_along():
    scheme = Scheme(bits=4, estimator="lsq", range="minmax")
    assert scheme.range == "learned" and scheme.clip_gradient


def test_default_widths():
    # J. Max, 1960, table II: the outermost levels of 4 and of 2 equal steps.
    assert Scheme(bits=2, range="std").width == 1.494
    assert Scheme(bits="ternary", range="std").width == 1.224
    assert Scheme(range="percentile").width == 0.999
    assert Scheme(range="std", range_width=2.5).width == 2.5


def test_storage_and_devices():
    assert [Scheme(bits=b).storage_bits for b in (1, "ternary", 4)] == [1, 2, 4]
    assert not Scheme(bits=32).quantized and Scheme(bits=1).quantized
    assert Scheme(bits=8, grid="affine", granularity="tensor").on_device_grid
    for other in ({"bits": 4}, {"grid": "linear"}, {"granularity": "channel"}):
        arguments = {"bits": 8, "grid": "affine", "granularity": "tensor", **other}
        assert not Scheme(**arguments).on_device_grid


def test_patterns():
    assert kept_of("2:4") == (2, 4) and kept_of("3:16") == (3, 16)
