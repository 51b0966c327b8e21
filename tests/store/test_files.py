import io
import os
import socket
import struct
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from featscope.errors import BadArrayError, BadOptionError, OutputError
from featscope.store import files
from featscope.store.files import (
    check_folder_name,
    inside,
    read_npy,
    read_npy_header,
    read_npy_shape,
    refuse_shared,
    safe_name,
    write_atomic,
)


@pytest.mark.parametrize(
    "array", [np.arange(6).reshape(2, 3), np.asfortranarray(np.arange(24.0).reshape(2, 3, 4)), np.float16(3)]
)
def test_reads_what_numpy_wrote(tmp_path, array):
    np.save(tmp_path / "a.npy", array)
    read = read_npy(tmp_path / "a.npy")
    np.testing.assert_array_equal(read, array)
    assert read.dtype == np.asarray(array).dtype
    assert read.flags.c_contiguous


def _save_object(path):
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)


def _truncate(path):
    np.save(path, np.zeros((4, 4)))
    os.truncate(path, 150)


def _huge_claim(path):
    np.save(path, np.zeros((4, 4)))
    path.write_bytes(path.read_bytes().replace(b"(4, 4), }        ", b"(999999, 999999)}"))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: p.write_bytes(b""), "is empty"),
        (lambda p: p.write_bytes(b"hello world"), "not a .npy file"),
        (lambda p: p.write_bytes(b"\x93NUMPY\x01\x00\x10\x00{'descr': 1/0}   "), "not a .npy file"),
        (lambda p: p.write_bytes(b"\x93NUMPY\x09\x00\x10\x00"), "not a .npy file"),
        (_save_object, "Python objects"),
        (_truncate, "truncated"),
        (_huge_claim, "truncated"),
        (lambda p: None, "cannot be read"),
    ],
)
def test_bad_files_are_named(tmp_path, make, message):
    path = tmp_path / "bad file 船.npy"
    make(path)
    with pytest.raises(BadArrayError, match=message) as error:
        read_npy(path)
    assert "bad file 船.npy" in str(error.value)


def test_an_object_array_is_never_unpickled(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "exploded"),))

    np.save(tmp_path / "bomb.npy", np.array([Bomb()], dtype=object), allow_pickle=True)
    with pytest.raises(BadArrayError):
        read_npy(tmp_path / "bomb.npy")
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize(
    "name",
    ["../up", "a/b", "..", ".", "", "con", "a\nb", "a\x00b", "x" * 300, " a", "a.", "a ", "...", "-", "%", "船" * 200],
)
def test_safe_names_are_one_harmless_part(tmp_path, name):
    safe = safe_name(name)
    assert safe == safe_name(name)
    assert safe[0] not in " ."
    assert safe[-1] not in " .", "Windows takes names without them for the same"
    path = tmp_path / safe
    path.write_text("x")
    assert path.parent == tmp_path
    assert path.exists()


def test_safe_names_do_not_collide():
    names = ["a/b", "a%2Fb", "a", "a.", "a ", "a%2E", "a\\b", "x" * 300, "x" * 301, "..", "."]
    assert len({safe_name(n) for n in names}) == len(names)


def test_given_folder_names_are_refused_not_changed():
    assert check_folder_name("neck.fpn 2 船") == "neck.fpn 2 船"
    with pytest.raises(BadOptionError, match="cannot name a folder"):
        check_folder_name("../neck")


def test_paths_stay_inside(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "link").symlink_to(tmp_path)
    for relative in ("../x.npy", "/etc/passwd", "link/x.npy", "a\x00b"):
        with pytest.raises(BadArrayError, match="leads out"):
            inside(tmp_path / "run", relative)
    assert inside(tmp_path / "run", "a/b.npy") == tmp_path / "run" / "a/b.npy"


def test_a_failed_write_leaves_nothing(tmp_path):
    (tmp_path / "taken").mkdir()
    with pytest.raises(OutputError, match="taken"):
        write_atomic(tmp_path / "taken", b"x")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["taken"]


def _fifo(path):
    os.mkfifo(path)


def _socket(path):
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(os.path.relpath(path))  # the whole path may be too long for an address


def _device(path):
    os.symlink("/dev/zero", path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are none of these here")
@pytest.mark.parametrize("make", [_fifo, _socket, _device])
def test_what_is_no_file_is_refused_and_not_waited_for(tmp_path, monkeypatch, make):
    monkeypatch.chdir(tmp_path)
    make(tmp_path / "a.npy")
    for read in (read_npy, read_npy_shape):
        with pytest.raises(
            BadArrayError, match="a.npy cannot be read: it is not a regular file but a folder, a FIFO, a socket"
        ):
            read(tmp_path / "a.npy")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are none here")
def test_a_fifo_in_the_place_of_a_temporary_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.png.part")
    with pytest.raises(OutputError, match="cannot write"):
        write_atomic(tmp_path / "a.png", b"x")


def _npy(text, data=b""):
    text = text.encode() + b" " * 20 + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + data


@pytest.mark.parametrize(
    "header",
    [
        "{'descr': '<f4', 'fortran_order': False, 'shape': (9223372036854775808, 2, 0, 1)}",
        "{'descr': '<f4', 'fortran_order': True, 'shape': (0, 9223372036854775808)}",
        "{'descr': '|S0', 'fortran_order': False, 'shape': (1099511627776, 2, 3, 4)}",
        "{'descr': '|V0', 'fortran_order': False, 'shape': (3,)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (True, False)}",
        "{'descr': ('<f4', (2,)), 'fortran_order': False, 'shape': (0, 9223372036854775807)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (%s0)}" % ("0," * 100),
        "(" * 900 + ")" * 900,
    ],
    ids=range(8),
)
def test_a_strange_header_is_an_error_that_names_the_file(tmp_path, header):
    (tmp_path / "a.npy").write_bytes(_npy(header))
    with pytest.raises(BadArrayError, match=r"a\.npy "):
        read_npy(tmp_path / "a.npy")


@pytest.mark.parametrize(
    "name", ["inputs", "heat", "Render", "EXPLAIN", "run.json", "places.json", "manifest-00000.jsonl", "index.sqlite"]
)
def test_a_name_that_a_run_uses_itself_names_no_layer(name):
    with pytest.raises(BadOptionError, match="featscope uses this name for something else"):
        check_folder_name(name)


@pytest.mark.parametrize("name", ["con", "NUL", "Com1", "lpt9.conv2d", "aux.relu", "com¹", "conin$"])
def test_a_name_that_windows_reserves_names_no_layer(name):
    with pytest.raises(BadOptionError, match="cannot name a folder"):
        check_folder_name(name)


def test_names_that_differ_by_case_only_are_one_on_some_disks():
    with pytest.raises(BadOptionError, match="the folders 'Neck' and 'neck' differ only by case"):
        refuse_shared({"a": "Neck", "b": "neck"}, "layers", "`names`")
    with pytest.raises(BadOptionError, match="two layers cannot share the folder 'neck'"):
        refuse_shared({"a": "neck", "b": "neck"}, "layers", "`names`")


def test_headers_are_parsed_by_one_thread_at_a_time(monkeypatch):
    """Python 3.11 fails now and then when two threads parse text at once, as NumPy does with a header."""
    file = io.BytesIO()
    np.save(file, np.zeros((1, 2, 3, 4), np.float32))
    data, parse, inside, most = file.getvalue(), files.npy.read_array_header_1_0, [], []

    def watched(header):
        inside.append(header)
        most.append(len(inside))
        time.sleep(0.002)
        inside.pop()
        return parse(header)

    monkeypatch.setattr(files.npy, "read_array_header_1_0", watched)
    with ThreadPoolExecutor(8) as pool:
        shapes = {shape for shape, *_ in pool.map(lambda _: read_npy_header(io.BytesIO(data), len(data)), range(40))}
    assert (shapes, max(most)) == ({(1, 2, 3, 4)}, 1)
