"""ONNX files: what they are fed, what of them is stored, and which axes are known."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from featscope.adapters.detector import Opening, refuse_unused  # noqa: E402
from featscope.adapters.feeding import capture_images, estimate_run  # noqa: E402
from featscope.adapters.opening import open_detector  # noqa: E402
from featscope.capturing.verifying import inside  # noqa: E402
from featscope.errors import BadOptionError, BadRunError, CaptureError, UnknownNameError  # noqa: E402
from featscope.records import Policy, Sample  # noqa: E402
from featscope.store.check import check_run  # noqa: E402
from featscope.store.reader import open_run  # noqa: E402

from .conftest import SHARED, featscope  # noqa: E402

FLOAT, UINT8, INT64 = TensorProto.FLOAT, TensorProto.UINT8, TensorProto.INT64
HEIGHT, WIDTH = 24, 40


def node(kind, inputs, outputs, **attributes):
    return helper.make_node(kind, inputs.split(), outputs.split(), **attributes)


def value(name, kind=FLOAT, shape=None):
    return helper.make_tensor_value_info(name, kind, shape)


def weights(name, array):
    return numpy_helper.from_array(np.asarray(array), name)


def kernel(channels=3, out=4, dtype=np.float32, name="w"):
    rng = np.random.default_rng(channels + out)
    return weights(name, rng.normal(size=(out, channels, 3, 3)).astype(dtype))


@pytest.fixture
def make(tmp_path):
    """Saves a graph and opens it."""

    def made(nodes, takes, outputs, initializers=(), opset=17, **options):
        path = tmp_path / "model.onnx"
        outputs = [value(one) if isinstance(one, str) else one for one in outputs]
        graph = helper.make_graph(nodes, "g", takes, outputs, list(initializers))
        opsets = [helper.make_opsetid("", opset)]
        onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), str(path))
        return open_detector(f"onnx:{path}", **options)

    return made


@pytest.fixture
def images(tmp_path):
    """Six pictures of the size of the input, each with colours of its own."""
    rng = np.random.default_rng(1)
    folder = tmp_path / "images"
    folder.mkdir()
    paths = [folder / f"{number}.png" for number in range(6)]
    for path in paths:
        Image.fromarray(rng.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)).save(path)
    return paths


def pixels(path):
    return np.asarray(Image.open(path).convert("RGB"))


def maps(run):
    """(layer, batch, level) -> (record, array as it lies on the disk)."""
    return {(m.record.layer, m.record.batch, m.record.level): (m.record, np.load(m.path)) for m in open_run(run).maps}


def run_images(detector, images, run, layers=("*",), **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        made = capture_images(detector, images, run, layers, **options)
    problems = check_run(run).problems
    assert all("lacks" in problem for problem in problems)
    assert len(problems) == len(open_run(run).info.left_out)
    return made


CONV = [node("Conv", "x w", "y", pads=[1, 1, 1, 1])]


def through_conv(kind, perm=None):
    nodes = [node("Cast", "x", "f", to=FLOAT)]
    last = "f"
    if perm:
        nodes.append(node("Transpose", "f", "t", perm=perm))
        last = "t"
    return [*nodes, node("Conv", f"{last} w", "y", pads=[1, 1, 1, 1])]


# What the images' input may be


@pytest.mark.parametrize("shape", [[1, HEIGHT, WIDTH, 3], ["n", "h", "w", 3], [2, "h", WIDTH, 3]])
def test_channels_last(make, images, tmp_path, shape):
    detector = make(
        through_conv(UINT8, [0, 3, 1, 2]), [value("x", UINT8, shape)], ["y"], [kernel()], input_size=(HEIGHT, WIDTH)
    )
    run_images(detector, images[:2], tmp_path / "run", batch_size=2)
    found = maps(tmp_path / "run")
    expected = np.stack([pixels(path) for path in images[:2]]).astype(np.float32)
    for name in ("f", "t"):  # what has its channels last is stored with them first
        record, array = found[name, 0, 0]
        np.testing.assert_array_equal(array, expected.transpose(0, 3, 1, 2))
        assert record.axes == ["sample", "channel", "row", "column"]
        assert (record.stride, record.first, record.place) == ((1, 1), (0.5, 0.5), "operators")
    assert found["y", 0, 0][0].stride == (1, 1)


@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
def test_a_layout_that_is_not_proved_is_asked_for(make, images, tmp_path, layout):
    perm = [0, 3, 1, 2] if layout == "nhwc" else [0, 1, 2, 3]
    graph = through_conv(FLOAT, perm), [value("x", FLOAT, ["n", "a", "b", "c"])], ["y"], [kernel()]
    with pytest.raises(BadOptionError, match="--preprocess layout=nchw"):
        make(*graph)
    detector = make(*graph, preprocess=f"layout={layout}", input_size=(HEIGHT, WIDTH))
    run_images(detector, images[:1], tmp_path / "run")
    expected = np.float32(pixels(images[0]).transpose(2, 0, 1)) / 255
    np.testing.assert_allclose(maps(tmp_path / "run")["t", 0, 0][1][0], expected, atol=1e-6)


@pytest.mark.parametrize(
    ("shape", "layout", "words"),
    [
        ([1, 3, 40, 3], "", "layout=nchw"),
        ([1, 8, 24, 40], "", "none is a batch of grey or RGB images"),
        ([1, 4, 24, 40], "", "the meaning of the fourth is unknown"),
        ([1, 24, 40, 3], "nchw", "in the layout nchw"),
        ([1, 10], "", "none is a batch"),
        ([1, 3, 24, 40], "nwhc", "layout=nwhc is invalid"),
    ],
)
def test_what_is_no_image_is_one_clear_line(make, shape, layout, words):
    with pytest.raises((BadOptionError, CaptureError), match=words) as caught:
        make([node("Relu", "x", "y")], [value("x", FLOAT, shape)], ["y"], preprocess=layout and f"layout={layout}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("axes", ["CHW", "HWC"])
@pytest.mark.parametrize("batch_size", [1, 2])
def test_an_image_without_a_batch(make, images, tmp_path, axes, batch_size):
    """As torchvision exports its detectors."""
    shape = [3, HEIGHT, WIDTH] if axes == "CHW" else [HEIGHT, WIDTH, 3]
    perm = [0, 1, 2] if axes == "CHW" else [2, 0, 1]
    nodes = [
        node("Transpose", "x", "t", perm=perm),
        node("Unsqueeze", "t place", "u"),
        node("Conv", "u w", "y", pads=[1, 1, 1, 1]),
        node("NonZero", "y", "rows"),
        node("ReduceMax", "t", "grey", axes=[0], keepdims=1),
    ]
    detector = make(nodes, [value("x", FLOAT, shape)], ["y"], [kernel(), weights("place", np.array([0]))])
    run_images(detector, images[:2], tmp_path / "run", batch_size=batch_size)
    found = maps(tmp_path / "run")
    array = np.concatenate([found["t", batch, 0][1] for batch in range(2 // batch_size)])
    np.testing.assert_allclose(array, [pixels(p).transpose(2, 0, 1) / 255 for p in images[:2]], atol=1e-6)
    assert found["t", 0, 0][0].stride == found["y", 0, 0][0].stride == (1, 1)
    assert found["y", 0, 0][1].shape == (batch_size, 4, HEIGHT, WIDTH)
    # (1, H, W) of two images are not two channels of one, and rows of a table have no image each.
    records = [record for (name, _, _), (record, _) in found.items() if name == "rows"]
    assert [record.samples for record in records] == [["0"], ["1"]]
    grey = np.concatenate([found["grey", batch, 0][1] for batch in range(2 // batch_size)])
    np.testing.assert_allclose(grey, array.max(1, keepdims=True))


@pytest.mark.parametrize(
    ("kind", "dtype"), [(TensorProto.DOUBLE, np.float64), (TensorProto.FLOAT16, np.float16), (FLOAT, np.float32)]
)
def test_floats_of_any_width(make, images, tmp_path, kind, dtype):
    nodes = [node("Relu", "x", "r"), node("MatMul", "r m", "y")]
    matrix = weights("m", np.eye(WIDTH, dtype=dtype))
    detector = make(nodes, [value("x", kind, [1, 3, HEIGHT, WIDTH])], [value("y", kind)], [matrix])
    run_images(detector, images[:1], tmp_path / "run")
    found = maps(tmp_path / "run")
    assert found["y", 0, 0][1].dtype == dtype
    expected = pixels(images[0]).transpose(2, 0, 1) / 255
    np.testing.assert_allclose(found["r", 0, 0][1][0], expected, rtol=1e-3 if dtype is np.float16 else 1e-6)


@pytest.mark.parametrize(("kind", "low"), [(UINT8, 0), (TensorProto.INT8, -128), (TensorProto.INT32, 0)])
def test_whole_numbers_are_pixels(make, images, tmp_path, kind, low):
    graph = [node("Identity", "x", "y")], [value("x", kind, [1, 3, HEIGHT, WIDTH])], [value("y", kind)]
    if low:
        with pytest.raises(BadOptionError, match="--preprocess range=255,mean=128"):
            run_images(make(*graph), images[:1], tmp_path / "bad")
    run_images(make(*graph, preprocess=f"mean={-low}"), images[:1], tmp_path / "run")
    expected = pixels(images[0]).transpose(2, 0, 1).astype(int) + low
    np.testing.assert_array_equal(maps(tmp_path / "run")["y", 0, 0][1][0], expected)


@pytest.mark.parametrize("shape", [[1, 1, HEIGHT, WIDTH], [1, HEIGHT, WIDTH, 1]])
def test_grey(make, images, tmp_path, shape):
    detector = make([node("Identity", "x", "y")], [value("x", UINT8, shape)], [value("y", UINT8)])
    run_images(detector, images[:1], tmp_path / "run")
    grey = np.asarray(Image.open(images[0]).convert("L"))
    np.testing.assert_array_equal(maps(tmp_path / "run")["y", 0, 0][1], grey[None, None])
    seen = np.asarray(Image.open(next((tmp_path / "run" / "inputs").iterdir())), int)
    assert np.ptp(seen, axis=2).max() <= 2, "the network saw no colours"


def test_an_input_of_which_one_side_is_open(make):
    graph = [node("Relu", "x", "y")], [value("x", FLOAT, [1, 3, 64, "w"])], ["y"]
    detector = make(*graph, input_size=(64, 96))
    assert detector.prepare(np.zeros((10, 20, 3), np.uint8), "a").inputs.shape == (3, 64, 96)
    with pytest.raises(BadOptionError, match="64 x any only"):
        make(*graph, input_size=(32, 96))


# Other inputs


SCALED = [node("Conv", "x w", "y", pads=[1, 1, 1, 1]), node("Mul", "y scale", "z")]


@pytest.mark.parametrize(
    ("shape", "text", "expected"),
    [
        ([1], "2.5", [2.5]),
        ([1, 4, 1, 1], "1,2,3,4", [1, 2, 3, 4]),
        (["n", 4, 1, 1], "1,2,3,4", [1, 2, 3, 4]),
        (["n", 4, 1, 1], "3", [3, 3, 3, 3]),
        ([1, 4, 1, 1], "FILE", [4, 3, 2, 1]),
        ([], "2", [2]),
    ],
)
def test_other_inputs_are_given(make, images, tmp_path, shape, text, expected):
    if text == "FILE":
        text = str(tmp_path / "scale.npy")
        np.save(text, np.array(expected, np.float64).reshape(shape))
    graph = SCALED, [value("x", FLOAT, ["n", 3, HEIGHT, WIDTH]), value("scale", FLOAT, shape)], ["z"], [kernel()]
    run_images(make(*graph, inputs={"scale": text}), images[:3], tmp_path / "run", batch_size=3)
    found = maps(tmp_path / "run")
    np.testing.assert_allclose(
        found["z", 0, 0][1], found["y", 0, 0][1] * np.reshape(expected, (1, -1, 1, 1)), rtol=1e-6
    )


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({}, r"also takes 'scale' \(float32 4\).*--input scale=1.0"),
        ({"scale": "1,2"}, "does not fit 'scale'"),
        ({"scale": "many"}, "is not a number, a list"),
        ({"scal": "1"}, "did you mean 'scale'"),
        ({"scale": "nowhere.npy"}, "nowhere.npy cannot be read"),
    ],
)
def test_other_inputs_that_do_not_fit(make, inputs, words):
    graph = SCALED, [value("x", FLOAT, ["n", 3, HEIGHT, WIDTH]), value("scale", FLOAT, [4])], ["z"], [kernel()]
    with pytest.raises((BadOptionError, CaptureError, UnknownNameError, ValueError), match=words):
        make(*graph, inputs=inputs)


def test_whole_numbers_stay_whole(make):
    graph = (
        [node("Gather", "x i", "y", axis=1)],
        [value("x", FLOAT, ["n", 3, HEIGHT, WIDTH]), value("i", INT64, [1])],
        ["y"],
    )
    make(*graph, inputs={"i": "2"})
    with pytest.raises(BadOptionError, match="does not fit"):
        make(*graph, inputs={"i": "1.5"})


def test_of_several_images_one_is_fed(make, images, tmp_path):
    size = [1, 3, HEIGHT, WIDTH]
    graph = [node("Sub", "a b", "y")], [value("a", FLOAT, size), value("b", FLOAT, size)], ["y"]
    with pytest.raises(CaptureError, match=r"several images: 'a' .*, 'b' .*--input b=FILE.npy"):
        make(*graph)
    np.save(tmp_path / "b.npy", np.full(size, 0.25))
    run_images(make(*graph, inputs={"b": str(tmp_path / "b.npy")}), images[:1], tmp_path / "run")
    expected = pixels(images[0]).transpose(2, 0, 1) / 255 - 0.25
    np.testing.assert_allclose(maps(tmp_path / "run")["y", 0, 0][1][0], expected, atol=1e-6)


def test_inputs_by_the_command_line(make, images, tmp_path):
    make(
        SCALED,
        [value("x", FLOAT, [1, 3, HEIGHT, WIDTH]), value("scale", FLOAT, [1])],
        ["z"],
        [kernel()],
        inputs={"scale": "1"},
    )
    model = tmp_path / "model.onnx"
    featscope("capture", model, "-i", images[0], "--input", "scale=2", "-l", "*", "-o", tmp_path / "run")
    found = maps(tmp_path / "run")
    np.testing.assert_allclose(found["z", 0, 0][1], 2 * found["y", 0, 0][1], rtol=1e-6)
    assert "1 x 4 x 24 x 40" in featscope("layers", model, "--input", "scale=2").stdout
    with pytest.raises(BadOptionError, match="--input cannot be used with the demo"):
        open_detector("demo", inputs={"scale": "1"})
    refuse_unused(Opening("x.onnx", inputs={"scale": "1"}), inputs="")


# Batches


@pytest.mark.parametrize("batch_size", [1, 2, 4])
def test_a_fixed_batch_is_filled_up_and_cut_off(make, images, tmp_path, batch_size):
    """CenterFace wants batches of ten."""
    nodes = [*CONV, node("ReduceMean", "y", "m", axes=[1, 2, 3], keepdims=0)]
    shapes = {10: [10, 3, HEIGHT, WIDTH], 0: ["n", 3, HEIGHT, WIDTH], 4: [4, 3, HEIGHT, WIDTH]}
    found = {}
    for size, shape in shapes.items():
        detector = make(nodes, [value("x", FLOAT, shape)], ["y", "m"], [kernel()])
        made = run_images(detector, images[:6], tmp_path / str(size), batch_size=batch_size)
        assert made.written.samples == 6
        assert not made.remarks
        found[size] = maps(tmp_path / str(size))
    for size in (4, 10):
        assert found[size].keys() == found[0].keys()
        for key, (record, array) in found[0].items():
            assert found[size][key][0].samples == record.samples
            np.testing.assert_allclose(found[size][key][1], array, atol=1e-5)


def test_what_has_no_rows_says_that_the_filling_is_in_it(make, images, tmp_path):
    nodes = [*CONV, node("NonZero", "y", "nz"), node("ReduceSum", "y", "all", keepdims=0)]
    detector = make(nodes, [value("x", FLOAT, [4, 3, HEIGHT, WIDTH])], ["y"], [kernel()])
    made = run_images(detector, images, tmp_path / "run", batch_size=6)
    assert [remark.split()[0] for remark in made.remarks] == ["'nz'", "'all'"]
    found = maps(tmp_path / "run")
    assert found["nz", 0, 0][0].samples == ["0", "1", "2", "3"]
    assert found["nz", 0, 1][0].samples == ["4", "5"]
    assert found["nz", 0, 0][1].shape[0] == 4, "as many rows as the batch has images, and none of them is one's"
    assert found["all", 0, 1][0].call == 1
    assert found["y", 0, 0][1].shape == (6, 4, HEIGHT, WIDTH)


def test_rows_that_depend_on_the_image(make, tmp_path):
    paths = []
    for number, bright in enumerate((3, 7)):
        picture = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
        picture[0, :bright] = 255
        paths.append(tmp_path / f"{number}.png")
        Image.fromarray(picture).save(paths[-1])
    detector = make(
        [node("NonZero", "x", "nz"), node("Relu", "x", "y")], [value("x", FLOAT, [1, 3, HEIGHT, WIDTH])], ["y"]
    )
    for batch_size in (1, 2):
        run = tmp_path / f"run{batch_size}"
        run_images(detector, paths, run, batch_size=batch_size)
        arrays = [array for (name, _, _), (_, array) in maps(run).items() if name == "nz"]
        assert [array.shape for array in arrays] == [(4, 9), (4, 21)]


def test_only_what_is_kept_runs(make, images, tmp_path):
    """A policy takes rows by running nothing else: what has no rows is that of the kept images too."""
    nodes = [*CONV, node("ReduceSum", "y", "all", keepdims=0)]
    detector = make(nodes, [value("x", FLOAT, ["n", 3, HEIGHT, WIDTH])], ["y"], [kernel()])
    run_images(detector, images, tmp_path / "run", batch_size=4, policy=Policy(every=2))
    found = maps(tmp_path / "run")
    assert found["y", 0, 0][0].samples == ["0", "2"]
    assert found["y", 1, 0][0].samples == ["4"]
    run_images(detector, images, tmp_path / "each", ["y"])
    single = maps(tmp_path / "each")
    np.testing.assert_allclose(found["y", 0, 0][1], np.concatenate([single["y", n, 0][1] for n in (0, 2)]), atol=1e-5)
    np.testing.assert_allclose(found["all", 0, 0][1], found["y", 0, 0][1].sum(), rtol=1e-3)
    run_images(detector, images, tmp_path / "few", batch_size=4, policy={"max_samples": 3})
    assert list(open_run(tmp_path / "few").samples) == ["0", "1", "2"]
    run_images(detector, images, tmp_path / "named", policy={"images": ["4*"]})
    assert list(open_run(tmp_path / "named").samples) == ["4"]


def test_a_run_goes_on(make, images, tmp_path):
    detector = make(CONV, [value("x", FLOAT, ["n", 3, HEIGHT, WIDTH])], ["y"], [kernel()])
    run_images(detector, images, tmp_path / "whole", batch_size=2)
    with pytest.raises(ZeroDivisionError), detector.capture(["y"], tmp_path / "run", info=detector.info) as session:
        for number in range(2):
            items = [detector.prepare(path, path.stem) for path in images[2 * number : 2 * number + 2]]
            session.start_batch(number, [item.sample.id for item in items])
            detector.detect(items)
            session.describe([item.sample for item in items])
        raise ZeroDivisionError
    assert not open_run(tmp_path / "run").info.finished
    with pytest.raises(BadRunError, match="holds 0, 1, but now it would hold 2, 3"):
        run_images(detector, images[2:], tmp_path / "run", ["y"], batch_size=2, resume=True)
    run_images(detector, images, tmp_path / "run", ["y"], batch_size=2, resume=True)
    before, after = maps(tmp_path / "whole"), maps(tmp_path / "run")
    assert before.keys() == after.keys()
    assert all(before[key][0].checksum == after[key][0].checksum for key in before)
    assert list(open_run(tmp_path / "run").samples) == [str(number) for number in range(6)]
    run_images(detector, images, tmp_path / "run", ["y"], batch_size=2, resume=True)  # nothing is left to do


def test_channels_and_reductions(make, images, tmp_path):
    nodes = [*CONV, node("Transpose", "y", "last", perm=[0, 2, 3, 1]), node("MatMul", "y square", "mixed")]
    inits = [kernel(out=9), weights("square", np.eye(WIDTH, dtype=np.float32))]
    detector = make(nodes, [value("x", FLOAT, ["n", 3, HEIGHT, WIDTH])], ["y"], inits)
    run_images(detector, images[:2], tmp_path / "whole", batch_size=2)
    whole = maps(tmp_path / "whole")["y", 0, 0][1]
    made = run_images(detector, images[:2], tmp_path / "top", batch_size=2, policy={"channels": "top:4"})
    record, array = maps(tmp_path / "top")["y", 0, 0]
    for kept, channels, image in zip(array, record.channels, whole):
        assert channels == np.argsort(-np.abs(image).mean((1, 2)))[:4].tolist()
        np.testing.assert_array_equal(kept, image[channels])
    assert maps(tmp_path / "top")["last", 0, 0][0].channels == record.channels
    assert [remark for remark in made.remarks if "stored completely" in remark] == [
        f"'mixed' {whole.shape} is stored completely, because it is unknown which of its axes are channels"
    ]
    run_images(detector, images[:2], tmp_path / "mean", batch_size=2, policy={"reduce": "mean", "dtype": "float16"})
    record, array = maps(tmp_path / "mean")["y", 0, 0]
    assert (record.reduced, array.dtype) == ("mean", np.float16)
    np.testing.assert_allclose(array, whole.mean(1, keepdims=True), atol=2e-3)
    run_images(detector, images[:1], tmp_path / "list", ["y"], policy={"channels": "7-15"})
    assert maps(tmp_path / "list")["y", 0, 0][0].channels == [[7, 8]]
    with pytest.raises(BadOptionError, match="has 9 channels, but none of '20'"):
        run_images(detector, images[:1], tmp_path / "none", ["y"], policy={"channels": "20"})


# What can be stored


def test_sequences_text_and_narrow_numbers(make, images, tmp_path):
    nodes = [
        *CONV,
        node("SplitToSequence", "y", "parts", axis=1),
        node("Cast", "y", "text", to=TensorProto.STRING),
        node("Cast", "y", "brain", to=TensorProto.BFLOAT16),
        node("Cast", "y", "eight", to=TensorProto.FLOAT8E4M3FN),
        node("ReduceMean", "y", "scalar", keepdims=0),
        node("SequenceEmpty", "", "nothing"),
    ]
    detector = make(nodes, [value("x", FLOAT, [1, 3, HEIGHT, WIDTH])], ["y"], [kernel()], opset=19)
    with pytest.raises(CaptureError, match="'text' gave nothing that can be stored .it holds text.*-l '!nothing'"):
        run_images(detector, images[:2], tmp_path / "run", batch_size=2)
    found = maps(tmp_path / "run")
    whole = found["y", 0, 0][1]
    for level in range(4):
        np.testing.assert_array_equal(found["parts", 0, level][1], whole[:, level : level + 1])
    assert found["brain", 0, 0][1].dtype == found["eight", 0, 0][1].dtype == np.float32
    np.testing.assert_allclose(found["brain", 0, 0][1], whole, rtol=1e-2)
    np.testing.assert_allclose(found["eight", 0, 0][1], whole, rtol=0.07, atol=0.01)
    assert ("scalar", 0, 0) in found
    info = open_run(tmp_path / "run").info
    assert not info.finished
    assert info.left_out.keys() == {"text", "nothing"}
    layers = ["*", "!text", "!nothing"]
    run_images(detector, images[:2], tmp_path / "good", layers)
    assert open_run(tmp_path / "good").info.finished


def test_what_was_not_asked_for_may_be_text(make, images, tmp_path):
    nodes = [*CONV, node("Cast", "y", "text", to=TensorProto.STRING)]
    detector = make(
        nodes, [value("x", FLOAT, [1, 3, HEIGHT, WIDTH])], ["y", value("text", TensorProto.STRING)], [kernel()]
    )
    made = run_images(detector, images[:1], tmp_path / "run", None)
    assert [remark.split()[0] for remark in made.remarks] == ["'text'"]
    info = open_run(tmp_path / "run").info
    assert info.finished
    assert info.left_out == {"text": "it holds text, not numbers"}


def test_outputs_that_are_weights_or_inputs(make, images, tmp_path):
    outputs = ["y", value("w", FLOAT, [4, 3, 3, 3]), value("x", FLOAT, [4, 3, HEIGHT, WIDTH])]
    detector = make(CONV, [value("x", FLOAT, [4, 3, HEIGHT, WIDTH])], outputs, [kernel()])
    made = run_images(detector, images[:2], tmp_path / "run", None, batch_size=2)
    assert any("'w' is a weight" in remark for remark in made.remarks)
    found = maps(tmp_path / "run")
    assert sorted(name for name, _, _ in found) == ["x", "y"]
    assert found["x", 0, 0][1].shape == (2, 3, HEIGHT, WIDTH)
    run_images(detector, images[:2], tmp_path / "asked", ["w"], batch_size=2)
    record, array = maps(tmp_path / "asked")["w", 0, 0]
    np.testing.assert_array_equal(array, numpy_helper.to_array(kernel()))
    assert record.stride is None


def test_names_that_fall_together(make, images, tmp_path):
    nodes = [
        node("Relu", "x", "/a/b"),
        node("Relu", "/a/b", "/a.b"),
        node("Relu", "/a.b", "a[0]"),
        node("Neg", "a[0]", "a.b"),
    ]
    detector = make(nodes, [value("x", FLOAT, [1, 3, HEIGHT, WIDTH])], ["a[0]"])
    made = run_images(detector, images[:2], tmp_path / "run")
    assert len(made.remarks) == 1
    found = maps(tmp_path / "run")
    assert len({record.path for record, _ in found.values()}) == 8
    folders = {record.layer: Path(record.path).parent.name for record, _ in found.values()}
    assert folders == {"/a/b": "a.b.relu", "/a.b": "%2Fa.b.relu", "a[0]": "a[0].relu", "a.b": "a.b.neg"}
    assert {record.level for record, _ in found.values()} == {0}
    run_images(detector, images[:1], tmp_path / "one", ["a[0]"], names={"a[0]": "mine"})
    assert [m.folder for m in open_run(tmp_path / "one").maps] == ["mine"]
    with pytest.raises(BadOptionError, match="cannot share"):
        run_images(detector, images[:1], tmp_path / "two", names={"a[0]": "mine", "a.b": "mine"})
    with pytest.raises(UnknownNameError, match="captured tensor"):
        run_images(detector, images[:1], tmp_path / "three", ["a.b"], names={"a[0]": "mine"})


# Which axes are known


def read_of(make, nodes, initializers=(), shape=("n", 3, HEIGHT, WIDTH)):
    """Tensor -> how it is read."""
    detector = make(nodes, [value("x", FLOAT, list(shape))], [nodes[-1].output[0]], initializers, opset=13)
    report = detector.report(detector.prepare(np.full((HEIGHT, WIDTH, 3), 9, np.uint8), "0"))
    return {layer.name: layer.outputs[""][0] for layer in report.layers}


def test_axes_are_followed(make):
    numbers = {"start": 1, "end": 1 << 40, "axis": 2, "step": 2, "half": 12, "first": 0}
    initializers = [weights(name, np.array([number])) for name, number in numbers.items()]
    initializers += [
        kernel(),
        kernel(3, name="w3"),
        kernel(4, name="w4"),
        weights("split", np.array([0, 2, 2, HEIGHT, WIDTH])),
        weights("joined", np.array([0, 4, HEIGHT, WIDTH])),
        weights("mixed", np.array([0, HEIGHT, 4, WIDTH])),
        weights("tokens", np.array([0, 4, HEIGHT * WIDTH, 1])),
        weights("all", np.array([2, 3])),
    ]
    nodes = [
        *CONV,
        # As YOLOX looks at every second row, and as a window takes a part.
        node("Slice", "y start end axis step", "focus"),
        node("Slice", "y first half axis", "part"),
        # A part, and a border, of which nobody knows how large before it runs.
        node("NonZero", "x", "places"),
        node("ReduceMax", "places", "far", axes=[1], keepdims=0),
        node("Slice", "y far far", "somewhere"),
        node("Concat", "far far", "borders", axis=0),
        node("Pad", "y borders", "wider"),
        # As ShuffleNet mixes channels.
        node("Reshape", "y split", "five"),
        node("Transpose", "five", "mixed5", perm=[0, 2, 1, 3, 4]),
        node("Reshape", "mixed5 joined", "shuffled"),
        # As a head of YOLOv8 makes numbers of distributions: a convolution over cells in a row.
        node("Reshape", "y tokens", "row"),
        node("Conv", "row one", "dfl"),
        # As many numbers as before, and nothing of the image.
        node("Transpose", "y", "turned", perm=[0, 2, 1, 3]),
        node("Reshape", "y mixed", "nonsense"),
        # An attention over channels, and back.
        node("GlobalAveragePool", "y", "pooled"),
        node("Sigmoid", "pooled", "gate"),
        node("Mul", "gate y", "gated"),
        node("MatMul", "y square", "attention"),
        node("Add", "attention y", "sum"),
        node("Conv", "attention w4", "after"),
        node("Concat", "y gated", "both", axis=1),
        node("Concat", "y gated", "under", axis=2),
        node("ReduceMean", "y", "grey", axes=[1], keepdims=1),
        node("Resize", "y  scales", "up"),
    ]
    nodes[-1].input[:] = ["y", "", "scales"]
    initializers += [
        weights("one", np.ones((1, 4, 1, 1), np.float32)),
        weights("square", np.eye(WIDTH, dtype=np.float32)),
        weights("scales", np.array([1, 1, 2, 2], np.float32)),
    ]
    found = read_of(make, nodes, initializers)
    letters = {"sample": "N", "channel": "C", "row": "H", "column": "W", "token": "L", "unknown": "."}
    axes = {name: "".join(letters[axis] for axis in one.axes) for name, one in found.items()}
    expected = {
        "y": "NCHW", "focus": "NCHW", "part": "NCHW", "five": "NCCHW", "mixed5": "NCCHW", "shuffled": "NCHW",
        "row": "NCLC", "dfl": "NCLC", "turned": "NHCW", "gated": "NCHW", "sum": "NCHW", "both": "NCHW",
        "under": "NCHW", "grey": "NCHW", "up": "NCHW",
    }  # fmt: skip
    grids = {name: one.grids for name, one in found.items() if one.grids}
    assert {name: axes[name] for name in grids} == expected
    places = {name: [(size, place.stride, place.first) for size, place in one] for name, one in grids.items()}
    whole = ((HEIGHT, WIDTH), (1, 1), (0.5, 0.5))
    assert places.pop("focus") == [((12, WIDTH), (2, 1), (1.5, 0.5))]
    assert places.pop("part") == [((12, WIDTH), (1, 1), (0.5, 0.5))]
    assert places.pop("up") == [((48, 80), (0.5, 0.5), (0.25, 0.25))]
    assert places.pop("under") == [whole, whole]
    assert {tuple(one) for one in places.values()} == {(whole,)}
    for name in ("somewhere", "wider"):
        assert "depends on the image" in found[name].why
    assert "do not form a grid" in found["nonsense"].why
    assert (
        found["attention"].why
        == found["after"].why
        == "its elements belong to whole rows or columns, or to places far apart"
    )


def test_no_stride_where_rows_and_columns_are_not_known(make, images, tmp_path):
    nodes = [*CONV, node("MatMul", "y square", "attention"), node("Conv", "attention one", "after")]
    square = np.eye(WIDTH, dtype=np.float32)
    inits = [kernel(), weights("square", square), weights("one", np.ones((1, 4, 1, 1), np.float32))]
    detector = make(nodes, [value("x", FLOAT, ["n", 3, HEIGHT, WIDTH])], ["after"], inits)
    run_images(detector, images[:1], tmp_path / "run")
    strides = {name: record.stride for (name, _, _), (record, _) in maps(tmp_path / "run").items()}
    assert strides == {"y": (1, 1), "attention": None, "after": None}
    assert open_run(tmp_path / "run").info.readings == dict.fromkeys(
        ["attention", "after"], "its elements belong to whole rows or columns, or to places far apart"
    )


def test_what_cannot_be_followed_can_be_said(make, images, tmp_path):
    nodes = [*CONV, node("MatMul", "y square", "attention"), node("Transpose", "attention", "last", perm=[0, 2, 3, 1])]
    inits = [kernel(), weights("square", np.eye(WIDTH, dtype=np.float32))]
    detector = make(nodes, [value("x", FLOAT, ["n", 3, HEIGHT, WIDTH])], ["last"], inits)
    run_images(detector, images[:2], tmp_path / "run", batch_size=2, axes={"last": "NHWC", "att*": "NCHW"})
    found = maps(tmp_path / "run")
    for name in ("last", "attention"):
        record, array = found[name, 0, 0]
        assert (record.axes, record.place) == (["sample", "channel", "row", "column"], "assumed")
        np.testing.assert_allclose(array, found["y", 0, 0][1], atol=1e-6)
    item = detector.prepare(images[0], "0")
    last = next(layer for layer in detector.report(item, {"last": "NHWC"}).layers if layer.name == "last")
    assert (last.outputs[""][0].why, last.outputs[""][0].strides) == ("its axes were given", [(1, 1)])
    with pytest.raises(BadOptionError, match="y was given as .* leave the option out"):
        run_images(detector, images[:1], tmp_path / "wrong", axes={"y": "NHWC"})


def test_tokens_are_stored_as_maps(make, images, tmp_path):
    """Of a batch that is filled up, too."""
    inits = [kernel(), weights("flat", np.array([0, 4, -1])), weights("cls", np.full((2, 1, 4), 7, np.float32))]
    nodes = [
        *CONV,
        node("Reshape", "y flat", "row"),
        node("Transpose", "row", "t", perm=[0, 2, 1]),
        node("Concat", "cls t", "tokens", axis=1),
    ]
    detector = make(nodes, [value("x", FLOAT, [2, 3, HEIGHT, WIDTH])], ["tokens"], inits)
    run_images(detector, images[:3], tmp_path / "run", batch_size=3, policy={"channels": "1-2"})
    stored = {(m.record.layer, m.record.field): (m.record, np.load(m.path)) for m in open_run(tmp_path / "run").maps}
    record, array = stored["tokens", ""]
    np.testing.assert_array_equal(array, stored["y", ""][1])
    assert (record.stride, record.first, record.channels) == ((1, 1), (0.5, 0.5), [[1, 2]] * 3)
    record, array = stored["tokens", "prefix_tokens"]
    np.testing.assert_array_equal(array, np.full((3, 1, 4), 7))
    assert (record.axes, record.samples) == (["sample", "token", "channel"], ["0", "1", "2"])
    assert record.path.startswith("tokens.concat.prefix_tokens/")


# The session


class ThreeMethods:
    """What the protocol of a sink asks for, and no more."""

    def __init__(self):
        self.maps, self.samples, self.finished = [], [], None

    def put(self, captured, array):
        captured.ready()
        self.maps.append((captured, array))

    def put_sample(self, sample, picture):
        self.samples.append((sample, picture))

    def close(self, finished):
        self.finished = finished


def test_any_sink(make, images):
    detector = make(CONV, [value("x", FLOAT, [1, 3, HEIGHT, WIDTH])], ["y"], [kernel()])
    items = [detector.prepare(path, path.stem) for path in images[:3]]
    sink = ThreeMethods()
    with detector.capture(["y"], sink) as session:
        session.start_batch(7, ["a"], ["a.png"])
        assert session.wanted
        detector.detect(items[:1])
        session.describe([Sample("other", geometry=items[0].sample.geometry)], [items[0].picture])
        session.end_batch()
        detector.detect(items[1:])  # nobody began a batch
        assert [sample.id for sample in session.samples] == ["1", "2"]
        with pytest.raises(CaptureError, match="describe all of them"):
            session.describe([Sample("1")])
    assert sink.finished
    assert [(captured.batch, captured.samples) for captured, _ in sink.maps] == [(7, ["a"]), (8, ["1", "2"])]
    assert [(sample.id, sample.batch) for sample, _ in sink.samples] == [("a", 7), ("1", 8), ("2", 8)]
    assert sink.samples[0][0].geometry == items[0].sample.geometry
    np.testing.assert_array_equal(sink.samples[0][1], inside(items[0].picture, items[0].sample.geometry))
    assert str(session.written).startswith("2 maps of 3 samples")
    assert session.written.place == "a ThreeMethods"
    with detector.capture(None, None) as session:
        detector.detect(items)
    assert session.sink["y.conv"][0].shape == (3, 4, HEIGHT, WIDTH)
    assert detector._session is None


def test_two_images_of_one_name_are_told_apart(make, images, tmp_path):
    (tmp_path / "more").mkdir()
    shutil.copy(images[1], tmp_path / "more" / "0.png")
    detector = make(CONV, [value("x", FLOAT, [1, 3, HEIGHT, WIDTH])], ["y"], [kernel()])
    made = run_images(detector, [images[0], tmp_path / "more" / "0.png"], tmp_path / "run")
    assert list(open_run(tmp_path / "run").samples) == ["0", "more_0"]
    assert len(made.remarks) == 1


def test_misuse_is_an_error(make, images, tmp_path):
    detector = make(CONV, [value("x", FLOAT, [1, 3, HEIGHT, WIDTH])], ["y"], [kernel()])
    items = [detector.prepare(path, path.stem) for path in images[:2]]
    with pytest.raises(CaptureError, match="no image was run"), detector.capture(["y"], tmp_path / "none"):
        pass
    refused = pytest.raises(CaptureError, match="begun with 1 samples, but 2 are run")
    with refused, detector.capture(["y"], ThreeMethods()) as session:
        session.start_batch(0, ["a"])
        detector.detect(items)
    refused = pytest.raises(CaptureError, match="no batch to describe")
    with refused, detector.capture(["y"], ThreeMethods()) as session:
        session.describe([])
    with pytest.raises(CaptureError, match="no tensor of .* is left to capture"):
        detector.capture(["!y"], ThreeMethods())
    detector.detect(items)


def test_an_estimate(make, images):
    detector = make(CONV, [value("x", FLOAT, [10, 3, HEIGHT, WIDTH])], ["y"], [kernel()])
    found = estimate_run(detector, [(path.stem, path) for path in images], ["y"], Policy(every=2))
    assert (found.footprint.bytes, found.samples) == (4 * HEIGHT * WIDTH * 4, 3)


def test_a_run_that_the_disk_has_no_room_for(make, images, tmp_path, monkeypatch):
    from collections import namedtuple

    from featscope.errors import OutputError

    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("featscope.capturing.estimate.shutil.disk_usage", lambda _: usage(10**9, 10**9, 30_000))
    detector = make(CONV, [value("x", FLOAT, [1, 3, HEIGHT, WIDTH])], ["y"], [kernel()])
    with pytest.raises(OutputError, match="would take"):
        run_images(detector, images, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_an_image_that_the_graph_cannot_take(make, images, tmp_path):
    """Sizes that the file leaves open, and that do not fit all the same."""
    nodes = [*CONV, node("Reshape", "y shape", "z")]
    inits = [kernel(), weights("shape", np.array([1, 4, 7, 11]))]
    detector = make(nodes, [value("x", FLOAT, ["n", 3, "h", "w"])], ["z"], inits)
    with pytest.raises(CaptureError, match=r"cannot be run on x \(1, 3, 640, 640\).*--input-size") as caught:
        run_images(detector, images[:1], tmp_path / "run")
    assert "\n" not in str(caught.value)


def test_weights_in_another_file(make, images, tmp_path):
    make(CONV, [value("x", FLOAT, [1, 3, HEIGHT, WIDTH])], ["y"], [kernel()])
    folder = tmp_path / "apart"
    folder.mkdir()
    model = onnx.load(str(tmp_path / "model.onnx"))
    onnx.save(model, str(folder / "m.onnx"), save_as_external_data=True, location="m.bin", size_threshold=0)
    assert (folder / "m.bin").stat().st_size >= 4 * 3 * 9 * 4
    run_images(open_detector(f"onnx:{folder / 'm.onnx'}"), images[:1], tmp_path / "run")
    run_images(open_detector(f"onnx:{tmp_path / 'model.onnx'}"), images[:1], tmp_path / "inside")
    assert maps(tmp_path / "run")["y", 0, 0][0].checksum == maps(tmp_path / "inside")["y", 0, 0][0].checksum
    (folder / "m.bin").unlink()
    with pytest.raises(CaptureError, match="keeps its weights in another file, which cannot be read"):
        open_detector(f"onnx:{folder / 'm.onnx'}")


@pytest.mark.parametrize(
    "entries",
    [
        {"location": "../secret.bin"},
        {"location": "{outside}/secret.bin"},
        {"location": "link.bin"},
        {"location": "linked/secret.bin"},
        {"location": "below/../../secret.bin"},
        {"location": ""},
        {"location": "."},
        {"location": "pipe"},
        {"location": "m.bin", "offset": "-4"},
        {"location": "m.bin", "offset": "999999999999"},
        {"location": "m.bin", "offset": "x"},
        {"location": "m.bin", "length": "9" * 30},
    ],
    ids=str,
)
def test_weights_outside_of_its_folder_or_of_their_file_are_not_read(make, images, tmp_path, entries):
    """A file of somebody else's cannot make others of the user's its weights, nor wait for ever for one."""
    make(CONV, [value("x", FLOAT, [1, 3, HEIGHT, WIDTH])], ["y"], [kernel()])
    folder = tmp_path / "apart"
    (folder / "below").mkdir(parents=True)
    model = onnx.load(str(tmp_path / "model.onnx"))
    onnx.save(model, str(folder / "m.onnx"), save_as_external_data=True, location="m.bin", size_threshold=0)
    (tmp_path / "secret.bin").write_bytes((folder / "m.bin").read_bytes())
    (folder / "link.bin").symlink_to(tmp_path / "secret.bin")
    (folder / "linked").symlink_to(tmp_path)
    os.mkfifo(folder / "pipe")
    model = onnx.load(str(folder / "m.onnx"), load_external_data=False)
    (tensor,) = model.graph.initializer
    del tensor.external_data[:]
    for key, text in entries.items():
        tensor.external_data.add(key=key, value=text.format(outside=tmp_path))
    (folder / "m.onnx").write_bytes(model.SerializeToString())
    # Old versions of onnx read nothing beyond the file's end, and the graph lacks its numbers then.
    elsewhere = "keeps its weights in another file, which cannot be read"
    with pytest.raises(CaptureError, match=elsewhere if len(entries) == 1 else f"{elsewhere}|cannot be run"):
        run_images(open_detector(f"onnx:{folder / 'm.onnx'}"), images[:1], tmp_path / "run")


def test_weights_in_another_file_that_are_too_few(make, images, tmp_path):
    make(CONV, [value("x", FLOAT, [1, 3, HEIGHT, WIDTH])], ["y"], [kernel()])
    model = onnx.load(str(tmp_path / "model.onnx"))
    onnx.save(model, str(tmp_path / "m.onnx"), save_as_external_data=True, location="m.bin", size_threshold=0)
    os.truncate(tmp_path / "m.bin", 8)
    with pytest.raises(CaptureError, match="cannot be read|cannot be run"):
        run_images(open_detector(f"onnx:{tmp_path / 'm.onnx'}"), images[:1], tmp_path / "run")


# Files of others


def test_yolox(images, tmp_path):
    """All axes up to the heads are known, and the strides are the network's."""
    detector = open_detector(f"onnx:{SHARED / 'models' / 'yolox_nano_coco.onnx'}")
    run_images(detector, images[:1], tmp_path / "run", policy={"reduce": "absmean"})
    found = [record for record, _ in maps(tmp_path / "run").values() if len(record.shape) == 4]
    assert {record.stride for record in found if record.cls == "Conv"} == {(s, s) for s in (2, 4, 8, 16, 32)}
    # The four quarters of the focus lie beside one another as channels: at four places in one cell.
    apart = [record for record in found if not record.place]
    assert [(record.cls, record.shape) for record in apart] == [("Concat", [1, 12, 208, 208])]
    assert all(record.place == "operators" and record.reduced for record in found if record not in apart)
    # All levels are in one table, and come out of it.
    levels = [record for record, _ in maps(tmp_path / "run").values() if record.layer == "output"]
    assert [(record.shape, record.stride) for record in levels] == [
        ([1, 1, side, side], (stride, stride)) for side, stride in ((52, 8), (26, 16), (13, 32))
    ]


def test_yunet(images, tmp_path):
    """A batch of any size gives what single images give."""
    detector = open_detector(f"onnx:{SHARED / 'models' / 'yunet_n_dynamic.onnx'}", input_size=(64, 96))
    run_images(detector, images[:3], tmp_path / "one", batch_size=1)
    run_images(detector, images[:3], tmp_path / "three", batch_size=3)
    one, three = maps(tmp_path / "one"), maps(tmp_path / "three")
    for (name, _, level), (record, array) in three.items():
        if array.ndim == 4:
            assert record.place == "operators", "those of heads that are turned to (N, H, W, C), too"
            single = np.concatenate([one[name, batch, level][1] for batch in range(3)])
            np.testing.assert_allclose(array, single, atol=1e-4, err_msg=name)
    strides = {record.stride for record, _ in three.values() if record.cls == "Conv"}
    assert strides <= {(s, s) for s in (2, 4, 8, 16, 32)}
    assert len(strides) == 5


def test_no_torch(make, images, tmp_path):
    make(CONV, [value("x", FLOAT, [4, 3, HEIGHT, WIDTH])], ["y"], [kernel()])
    code = (
        "import sys\nfrom pathlib import Path\n"
        "from featscope.adapters.opening import open_detector\n"
        "from featscope.adapters.feeding import capture_images\n"
        "detector = open_detector('onnx:' + sys.argv[1])\n"
        "capture_images(detector, [Path(sys.argv[2])], Path(sys.argv[3]), ['y'], policy={'reduce': 'mean'})\n"
        "with detector.capture(None, None) as session:\n"
        "    detector.detect([detector.prepare(Path(sys.argv[2]), 'a')])\n"
        "assert len(session.sink) == 1\n"
        "assert 'torch' not in sys.modules\n"
    )
    arguments = [str(tmp_path / "model.onnx"), str(images[0]), str(tmp_path / "run")]
    subprocess.run([sys.executable, "-c", code, *arguments], check=True)
