"""Files that were damaged or made to harm: an error of ours, quickly, and no more memory than the file has bytes."""

import io
import json
import shutil
import struct
import tracemalloc
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from featscope.errors import BadArrayError, FeatscopeError
from featscope.render.heat_plan import HeatOptions, plan_heat
from featscope.render.jobs import run_jobs
from featscope.store.check import check_run
from featscope.store.files import read_npy
from featscope.store.reader import open_run

# What an attacker would put in place of a number or a name.
_TEXTS = [
    b"99999999999999999999", b"-1", b"1e400", b"True", b"None", b"'|O8'", b"'<f4,<f4'", b"[('a','O')]", b"{}",
    b"(" * 500, b"[" * 500, b"((((1000000,)*1000000)))", b"\x00", b"\xff\xfe", b"..", b"/etc/passwd", b"\\u0000",
    b"__import__('os').system('x')", b"'V99999999999'", b"nan", b'"', b"'", b"\n", b"10**12", b"0x7fffffffffffffff",
]  # fmt: skip


def _npy(shape=(1, 3, 4, 5), dtype="<f4"):
    out = io.BytesIO()
    np.save(out, np.zeros(shape, dtype))
    return out.getvalue()


@st.composite
def mutated(draw, original):
    """Bytes with some of them changed, cut out, doubled, or replaced by something hostile."""
    data = bytearray(original)
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, max(0, len(data) - 1)))
        length = draw(st.integers(0, 12))
        put = draw(st.one_of(st.binary(max_size=8), st.sampled_from(_TEXTS)))
        data[place : place + length] = put
    return bytes(data[: draw(st.integers(0, len(data)))] if draw(st.booleans()) else data)


def _bounded(pytestconfig, reduced):
    count = 10_000 if pytestconfig.getoption("--full") else reduced
    return settings(
        max_examples=count, deadline=2000, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
    )


def _peak(call):
    """The most bytes that were allocated at once; whatever ends the call must be an error of ours."""
    tracemalloc.start()
    try:
        call()
    except FeatscopeError:
        pass
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    return peak


_OVERHEAD = 256 << 10  # parsing a header, building an error: nothing that depends on what the file claims


def test_mutated_headers(tmp_path, pytestconfig):
    path, count = tmp_path / "x.npy", [0]

    @_bounded(pytestconfig, 300)
    @given(mutated(_npy()))
    def run(data):
        count[0] += 1
        path.write_bytes(data)
        assert _peak(lambda: read_npy(path)) <= len(data) + _OVERHEAD

    run()
    print(f"{count[0]} mutated .npy files")


def test_mutated_manifests(run, tmp_path, pytestconfig):
    count = [0]
    boxes = '"predictions":{"form":"cxcywha","boxes":[[9,8,7,3,0.5]],"labels":[0],"scores":[0.9]}'
    boxes += ',"truth":{"form":"quad","boxes":[[1,1,9,1,9,9,1,9]],"labels":[0]}'
    samples = run / "samples-00000.jsonl"
    samples.write_text(samples.read_text().replace('"input"', boxes + ',"input"'))
    files = {name: (run / name).read_bytes() for name in ("manifest-00000.jsonl", "samples-00000.jsonl", "run.json")}
    copy = tmp_path / "copy"

    def read():
        opened = open_run(copy)
        for map_file in opened.maps:
            with_error = None
            try:
                map_file.load()
            except FeatscopeError as error:
                with_error = error
            assert with_error is None or str(with_error)
        list(opened.samples.values())
        opened.select(layer="neck", level=1, sample="a")
        check_run(copy)

    def draw():
        opened = open_run(copy)
        options = HeatOptions(predictions=bool(opened.samples), truth=bool(opened.samples))
        errors = run_jobs(opened.maps, plan_heat(opened, opened.maps, options), tmp_path / "heat").errors
        assert not [error for error in errors if "not drawn" in error], "errors of ours name the file themselves"

    @_bounded(pytestconfig, 150)
    @given(st.sampled_from(sorted(files)).flatmap(lambda name: st.tuples(st.just(name), mutated(files[name]))))
    def mutate(change):
        count[0] += 1
        name, data = change
        if not copy.exists():
            shutil.copytree(run, copy)
        (copy / name).write_bytes(data)
        try:
            assert _peak(read) <= (4 << 20) + 20 * len(data)
            with suppress(FeatscopeError):
                draw()
        finally:
            (copy / name).write_bytes(files[name])

    mutate()
    print(f"{count[0]} mutated manifests")


@pytest.mark.parametrize(
    "shape", ["(1000000000000,)", "(1000000, 1000000)", "(9223372036854775807, 9223372036854775807)"]
)
def test_an_array_that_claims_a_million_million_numbers(tmp_path, shape):
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".encode()
    header += b" " * (63 - (len(header) + 10) % 64) + b"\n"
    (tmp_path / "x.npy").write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + b"\0" * 64)

    def read():
        with pytest.raises(BadArrayError, match="truncated"):
            read_npy(tmp_path / "x.npy")

    assert _peak(read) < _OVERHEAD


def test_a_header_that_claims_four_gigabytes(tmp_path):
    (tmp_path / "x.npy").write_bytes(b"\x93NUMPY\x02\x00" + struct.pack("<I", 0xFFFFFFF0) + b"{}")

    def read():
        with pytest.raises(BadArrayError, match="claims 4294967280 bytes"):
            read_npy(tmp_path / "x.npy")

    assert _peak(read) < _OVERHEAD


@pytest.mark.parametrize("name", ["run.json", "manifest-00000.jsonl", "samples-00000.jsonl", "places.json"])
@pytest.mark.parametrize(("opening", "ending"), [(b"[", b"]"), (b'{"more":', b"}")])
@pytest.mark.parametrize("known", [False, True])
def test_json_that_is_nested_without_end(run, name, opening, ending, known):
    """A value in a value a hundred thousand times, also where nobody looks at it."""
    deep = opening * 100_000 + b"1" + ending * 100_000
    path = run / name
    line = path.read_bytes().splitlines(keepends=True)[-1] if path.suffix == ".jsonl" else b"{}\n"
    field = (
        b'"samples":' if name.startswith("manifest") else b'"sources":' if name.startswith("samples") else b'"layers":'
    )
    whole = line[: line.rindex(b"}")].rstrip(b"\n") + (b"," if line != b"{}\n" else b"")
    with open(path, "ab" if path.suffix == ".jsonl" else "wb") as file:
        file.write(whole + (field if known else b'"unknown":') + deep + b"}\n")
    try:
        opened = open_run(run)
    except FeatscopeError as error:
        assert (name, "damaged" in str(error)) == ("run.json", True)  # noqa: PT017 (it may as well be passed over)
        return
    assert len(opened.maps) in (2, 3)
    assert len(opened.problems) <= 1
    assert all(name in str(problem) for problem in opened.problems)
    check_run(run)


def test_a_manifest_whose_records_lie(run):
    """Numbers that no array has: each is an error of the file, and the others are read."""
    lines = [json.loads(line) for line in (run / "manifest-00000.jsonl").read_text().splitlines()]
    lies = [
        {"shape": [10**12, 1, 1, 1]},
        {"shape": [-1, 3, 4, 4]},
        {"bytes": -5},
        {"dtype": "O"},
        {"dtype": "nonsense"},
    ]
    lies += [{"scales_checksum": 5}, {"level": 2**63}, {"batch": -(2**70)}, {"channels": [["x"]]}, {"stride": [0, 0]}]
    for lie in lies:
        (run / "manifest-00000.jsonl").write_text(
            "".join(json.dumps({**line, **lie} if i == 0 else line) + "\n" for i, line in enumerate(lines))
        )
        report = check_run(run)
        assert report.maps >= 1
