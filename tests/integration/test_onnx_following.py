"""Places are followed through ONNX's operators: against the values of pictures that show each pixel's own place."""

from __future__ import annotations

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from featscope.adapters.onnx.following import Followed  # noqa: E402

SAMPLES, HEIGHT, WIDTH = 2, 24, 41


def places():
    """(N, 3, H, W): the row, the column and the number of the picture of each pixel."""
    picture = np.indices((SAMPLES, HEIGHT, WIDTH)).astype(np.float32)
    return np.stack([picture[1] + 0.5, picture[2] + 0.5, picture[0]], 1)


def node(kind, inputs, outputs, **attributes):
    return helper.make_node(kind, inputs.split(","), outputs.split(","), **attributes)


def number(name, *values):
    return numpy_helper.from_array(np.array(values, np.int64), name)


def real(name, array):
    return numpy_helper.from_array(np.asarray(array, np.float32), name)


def box(*kernel, name="w"):
    """A mean over a window in each of the three channels."""
    return real(name, np.full((3, 1, *kernel), 1 / np.prod(kernel)))


def run(nodes, weights=(), opset=17, image=None, axes="NCHW"):
    """Tensor -> (its values, how it is read)."""
    image = places() if image is None else image
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, list(image.shape))], [], list(weights)
    )
    names = [name for one in nodes for name in one.output if name]
    graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    values = dict(zip(names, session.run(None, {"x": image})))
    found = Followed(model, "x", axes, {"x": image})
    return {name: (value, found.reading(name, np.shape(value))) for name, value in values.items()}


def check(value, reading, margin=0):
    """The map's values are the places that its reading says, away from its border."""
    [(part, map_)] = [(part, laid) for part, laid in reading.apply(value) if not part.name]
    assert part.axes == ("sample", "channel", "row", "column"), reading
    assert part.place.known == "operators"
    assert map_.shape[:2] == (SAMPLES, 3)
    inside = (slice(margin, map_.shape[2] - margin), slice(margin, map_.shape[3] - margin))
    (y, x), (dy, dx) = part.place.first, part.place.stride
    rows = y + dy * np.arange(map_.shape[2])[:, None]
    columns = x + dx * np.arange(map_.shape[3])[None, :]
    assert map_[:, 0][:, inside[0], inside[1]].size
    for channel, expected in ((0, rows), (1, columns)):
        expected = np.broadcast_to(expected, map_.shape[2:])[inside]
        np.testing.assert_allclose(map_[:, channel][:, inside[0], inside[1]], [expected] * SAMPLES, atol=1e-3)
    np.testing.assert_allclose(map_[:, 2][0, inside[0], inside[1]], 0, atol=1e-5)
    np.testing.assert_allclose(map_[:, 2][1, inside[0], inside[1]], 1, atol=1e-5)
    return part


# Windows


@pytest.mark.parametrize("kind", ["Conv", "AveragePool", "MaxPool", "LpPool"])
@pytest.mark.parametrize(
    "window",
    [
        {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]},
        {"kernel_shape": [2, 4], "strides": [2, 4]},
        {"kernel_shape": [4, 3], "strides": [3, 1], "pads": [2, 0, 1, 2]},
        {"kernel_shape": [3, 2], "dilations": [2, 3], "strides": [1, 2]},
        {"kernel_shape": [3, 3], "strides": [2, 2], "auto_pad": "SAME_UPPER"},
        {"kernel_shape": [3, 3], "strides": [2, 2], "auto_pad": "SAME_LOWER"},
        {"kernel_shape": [2, 2], "strides": [3, 3], "auto_pad": "VALID"},
    ],
)
def test_windows(kind, window):
    if kind in ("AveragePool", "LpPool") and "dilations" in window:
        pytest.skip("their dilations came with opset 19")
    if kind == "Conv":
        found = run([node("Conv", "x,w", "y", group=3, **window)], [box(*window["kernel_shape"])])
    elif kind == "LpPool":
        weights = [real("by", 1 / np.prod(window["kernel_shape"]))]
        found = run([node("LpPool", "x", "sum", p=1, **window), node("Mul", "sum,by", "y")], weights)
    elif kind == "AveragePool":
        found = run([node("AveragePool", "x", "y", **window)])
    else:  # the middle of the smallest and the largest
        nodes = [
            node("MaxPool", "x", "high", **window),
            node("Neg", "x", "minus"),
            node("MaxPool", "minus", "low", **window),
            node("Sub", "high,low", "both"),
            node("Mul", "both,half", "y"),
        ]
        found = run(nodes, [real("half", 0.5)])
    check(*found["y"], margin=2)


def test_a_stride_that_does_not_divide_the_size():
    nodes = [node("AveragePool", "x", "y", kernel_shape=[4, 4], strides=[4, 4], ceil_mode=1)]
    value, reading = run(nodes)["y"]
    assert value.shape[2:] == (6, 11)
    assert reading.parts[0].place.stride == (4, 4)
    assert reading.parts[0].place.first == (2, 2)


@pytest.mark.parametrize(
    "spread",
    [
        {"strides": [2, 2], "pads": [1, 1, 1, 1]},
        {"strides": [2, 2], "pads": [1, 0, 0, 1]},
        {"strides": [2, 2], "pads": [1, 1, 1, 1], "output_padding": [1, 1]},
        {"strides": [2, 2], "output_shape": [48, 82]},
        {"strides": [2, 2], "auto_pad": "SAME_UPPER"},
        {"strides": [2, 2], "auto_pad": "SAME_LOWER"},
    ],
)
def test_transposed_convolutions(spread):
    line = np.array([0.25, 0.75, 0.75, 0.25])
    weights = [real("w", np.broadcast_to(np.outer(line, line), (3, 1, 4, 4)))]
    found = run([node("ConvTranspose", "x,w", "y", group=3, **spread)], weights)
    part = check(*found["y"], margin=3)
    assert part.place.stride == (0.5, 0.5)


def test_quantised_convolutions():
    weights = [
        numpy_helper.from_array(np.full((3, 1, 3, 3), 1, np.uint8), "w"),
        numpy_helper.from_array(np.array(0, np.uint8), "zero"),
        real("one", 1),
        real("by", 9),
    ]
    nodes = [
        node("QuantizeLinear", "x,one,zero", "q"),
        node("QLinearConv", "q,one,zero,w,one,zero,by,zero", "c", group=3, strides=[2, 2]),
        node("DequantizeLinear", "c,one,zero", "y"),
    ]
    value, reading = run(nodes, weights)["y"]
    assert reading.parts[0].place.stride == (2, 2)
    assert reading.parts[0].place.first == (1.5, 1.5)
    assert np.abs(value[0, 0, :, 0] - (1.5 + 2 * np.arange(value.shape[2]))).max() <= 1


# Interpolation


@pytest.mark.parametrize("mode", ["half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric"])
@pytest.mark.parametrize("scale", [2.0, 1.5, 0.5])
def test_resize_by_scales(mode, scale):
    nodes = [node("Resize", "x,,scales", "y", mode="linear", coordinate_transformation_mode=mode)]
    check(*run(nodes, [real("scales", [1, 1, scale, scale])])["y"], margin=2)


def test_resize_half_pixel_symmetric():
    nodes = [node("Resize", "x,,scales", "y", mode="linear", coordinate_transformation_mode="half_pixel_symmetric")]
    found = run(nodes, [real("scales", [1, 1, 1.3, 1.3])], opset=19)
    check(*found["y"], margin=2)


def test_resize_to_sizes_along_some_axes():
    nodes = [node("Resize", "x,,,sizes", "y", mode="linear", axes=[2, 3])]
    found = run(nodes, [number("sizes", 48, 41)], opset=18)
    assert check(*found["y"], margin=2).place.stride == (0.5, 1)


@pytest.mark.parametrize(
    ("mode", "rounding"),
    [("asymmetric", "floor"), ("half_pixel", "round_prefer_floor"), ("half_pixel", "round_prefer_ceil")],
)
def test_copies_of_the_nearest_cell_lie_in_the_room_that_it_had(mode, rounding):
    nodes = [
        node("Resize", "x,,s", "up", coordinate_transformation_mode=mode, nearest_mode=rounding),
        # The mean of a cell's copies is the cell.
        node("AveragePool", "up", "y", kernel_shape=[2, 2], strides=[2, 2]),
    ]
    found = run(nodes, [real("s", [1, 1, 2, 2])])
    assert found["up"][1].parts[0].place.first == (0.25, 0.25)
    assert check(*found["y"]).place.first == (0.5, 0.5)


def test_copies_of_the_cell_behind_lie_ahead():
    nodes = [
        node("Resize", "x,,s", "up", coordinate_transformation_mode="asymmetric", nearest_mode="ceil"),
        node("AveragePool", "up", "y", kernel_shape=[2, 2], strides=[2, 2]),
    ]
    part = check(*run(nodes, [real("s", [1, 1, 2, 2])])["y"], margin=1)
    assert part.place.first == pytest.approx((1, 1), abs=0.05)


def test_every_second_cell_is_that_cell():
    nodes = [node("Resize", "x,,s", "y", coordinate_transformation_mode="asymmetric", nearest_mode="floor")]
    assert check(*run(nodes, [real("s", [1, 1, 0.5, 0.5])])["y"]).place.first == (0.5, 0.5)


def test_an_old_upsample():
    nodes = [node("Upsample", "x,s", "y", mode="linear")]
    check(*run(nodes, [real("s", [1, 1, 2, 2])], opset=9)["y"], margin=2)


# Moving


def test_channels_last_and_back():
    nodes = [node("Transpose", "x", "last", perm=[0, 2, 3, 1]), node("Transpose", "last", "y", perm=[0, 3, 1, 2])]
    found = run(nodes)
    assert found["last"][1].axes == ("sample", "row", "column", "channel")
    check(*found["last"])
    check(*found["y"])


def test_tokens_with_a_class_token_before_them():
    """As a ViT makes them: patches in a row, and what stands for the whole image in front."""
    nodes = [
        node("Conv", "x,w", "patches", group=3, strides=[4, 4]),
        node("Reshape", "patches,flat", "row"),
        node("Transpose", "row", "tokens", perm=[0, 2, 1]),
        node("Shape", "tokens", "size"),
        node("Gather", "size,first", "count", axis=0),
        node("Concat", "count,rest", "form", axis=0),
        node("Expand", "cls,form", "class"),
        node("Concat", "class,tokens", "y", axis=1),
        node("Gather", "y,which", "one", axis=1),
    ]
    weights = [box(4, 4), number("flat", 0, 3, -1), number("first", 0), number("rest", 1, 3), number("which", 0)]
    found = run(nodes, [*weights, real("cls", np.full((1, 1, 3), 99))])
    part = check(*found["tokens"])
    assert part.place.first == (2, 2)
    assert found["tokens"][1].axes == ("sample", "token", "channel")
    value, reading = found["y"]
    check(value, reading)
    [(_, extra)] = [(part, laid) for part, laid in reading.apply(value) if part.name == "prefix_tokens"]
    np.testing.assert_array_equal(extra, np.full((SAMPLES, 1, 3), 99))
    assert not found["one"][1].is_map


def test_windows_in_the_batch_that_were_rolled():
    """As a Swin makes them: rolled by slices and joins, cut into windows, which lie in the axis of the samples."""
    form = {"cut": (2, 3, 8, 5, 8, 3), "windows": (30, 8, 8, 3)}
    nodes = [
        node("Slice", "x,zero,forty,three", "even"),  # 40 columns
        node("Transpose", "even", "last", perm=[0, 2, 3, 1]),
        node("Slice", "last,five,many,one", "below"),
        node("Slice", "last,zero,five,one", "above"),
        node("Concat", "below,above", "rolled", axis=1),
        node("Reshape", "rolled,cut", "six"),
        node("Transpose", "six", "sorted", perm=[0, 1, 3, 2, 4, 5]),
        node("Reshape", "sorted,windows", "y"),
        node("Reshape", "y,flat", "tokens"),
    ]
    names = {"zero": 0, "forty": 40, "three": 3, "five": 5, "many": 1 << 40, "one": 1}
    weights = [number(name, value) for name, value in names.items()]
    weights += [number(name, *sides) for name, sides in form.items()] + [number("flat", 30, 64, 3)]
    found = run(nodes, weights)
    for name in ("rolled", "six", "y", "tokens"):
        part = check(*found[name])
        assert part.form == (2, 3, 24, 40), name
    assert found["y"][1].axes[0] == "window"


def test_pieces_of_a_map_are_one_map_again_and_two_maps_are_two():
    nodes = [
        node("Split", "x,there", "a,b", axis=2),
        node("Concat", "b,a", "rolled", axis=2),
        node("Split", "rolled,back", "c,d", axis=2),
        node("Concat", "d,c", "again", axis=2),
        node("Concat", "x,x", "twice", axis=2),
    ]
    found = run(nodes, [number("there", 7, 17), number("back", 17, 7)])
    check(*found["a"])
    assert check(*found["rolled"]).order is not None, "its rows have to be sorted"
    assert check(*found["again"]).order is None, "it is as it was"
    assert [one.form for one in found["twice"][1].parts] == [(2, 3, HEIGHT, WIDTH)] * 2


def test_slices_of_all_kinds():
    nodes = [
        node("Slice", "x,a,b,axes,steps", "every"),
        node("Slice", "x,last,before,two,back", "turned"),
        node("Slice", "turned,last,before,two,back", "again"),
        node("Pad", "again,pads", "wide"),
        node("Gather", "again,some", "few", axis=3),
        node("Tile", "x,times", "tiled"),
    ]
    weights = [
        number("a", 3, 1),
        number("b", 20, 1 << 60),
        number("axes", 2, 3),
        number("steps", 2, 3),
        number("last", -1),
        number("before", -(1 << 60)),
        number("two", 2),
        number("back", -1),
        number("pads", 0, 0, 2, 1, 0, 0, 0, 3),
        number("some", 4, 6, 8, 10),
        number("times", 1, 1, 1, 2),
    ]
    found = run(nodes, weights)
    part = check(*found["every"])
    assert (part.place.stride, part.place.first) == ((2, 3), (3.5, 1.5))
    check(*found["again"])
    part = check(*found["wide"], margin=3)
    assert part.place.first == (-1.5, -0.5)
    assert check(*found["few"]).place.stride == (1, 2)
    assert len(found["tiled"][1].parts) == 0


def test_squares_become_channels_and_back():
    nodes = [
        node("Slice", "x,zero,forty,three", "even"),
        node("SpaceToDepth", "even", "deep", blocksize=2),
        node("DepthToSpace", "deep", "y", blocksize=2),
    ]
    found = run(nodes, [number("zero", 0), number("forty", 40), number("three", 3)])
    place = found["deep"][1].parts[0].place
    assert (place.stride, place.first) == ((2, 2), (1, 1))
    np.testing.assert_allclose(found["deep"][0].reshape(2, 4, 3, 12, 20).mean(1)[0, 0, :, 0], 1 + 2 * np.arange(12))
    check(*found["y"])


def test_einsum_and_gemm():
    nodes = [
        node("Einsum", "x,m", "y", equation="nchw,dc->nhwd"),
        node("Transpose", "x", "last", perm=[0, 2, 3, 1]),
        node("Reshape", "last,flat", "rows"),
        node("Gemm", "rows,m", "g", transB=1),
        node("MatMul", "last,m", "p"),
        node("Transpose", "rows", "columns", perm=[1, 0]),
        node("Gemm", "columns,m", "t", transA=1),
    ]
    found = run(nodes, [real("m", np.eye(3)), number("flat", -1, 3)])
    for name in ("y", "g", "p", "t"):
        check(*found[name])
    assert found["g"][1].axes == ("window", "channel")


# What is not known


def test_what_the_image_decides_is_not_known_and_says_so():
    nodes = [
        node("NonZero", "x", "nz"),
        node("ReduceMax", "nz", "far", axes=[1], keepdims=0),
        node("Slice", "x,far,ends", "somewhere"),
        node("Relu", "somewhere", "later"),
        node("Flatten", "x", "flat"),
        node("TopK", "flat,k", "top,index"),
        node("Shape", "x", "size"),
        node("Reshape", "flat,size", "back"),
        node("ArgMax", "x", "columns", axis=3, keepdims=0),
        node("ReduceMax", "columns", "column", keepdims=0),
        node("Gather", "x,column", "some", axis=3),
    ]
    found = run(nodes, [number("ends", *[1 << 40] * 4), number("k", 5)])
    why = {name: reading.why for name, (_, reading) in found.items() if not reading.is_map}
    assert "NonZero (the size of its output depends on the image)" in why["somewhere"]
    assert why["later"] == why["somewhere"]
    assert "TopK (the elements that it takes depend on the image)" in why["top"]
    assert "Gather (its effect depends on the image)" in why["some"]
    check(*found["back"])


def test_an_operator_without_a_rule_is_named():
    body = helper.make_graph([node("Relu", "x", "inner")], "b", [], [onnx.ValueInfoProto(name="inner")])
    nodes = [
        node("Constant", "", "yes", value=numpy_helper.from_array(np.array(True))),
        node("If", "yes", "y", then_branch=body, else_branch=body),
        node("Relu", "y", "z"),
        node("Add", "x,z", "sum"),
    ]
    nodes[0].input[:] = []
    body.output[0].CopyFrom(helper.make_tensor_value_info("inner", TensorProto.FLOAT, None))
    nodes[1] = helper.make_node("If", ["yes"], ["y"], then_branch=body, else_branch=body)
    found = run(nodes)
    assert found["y"][1].why == found["z"][1].why == "it went through If, which featscope cannot follow"
    assert not found["sum"][1].is_map, "of an unknown size, it may be anything"


def test_what_does_not_fit_the_shape_is_refused():
    """ONNX cuts a start before the first element off where it goes back, NumPy does not."""
    found = run(
        [node("Slice", "x,start,end,axis,step", "y")],
        [number("start", -100), number("end", -(1 << 60)), number("axis", 2), number("step", -1)],
    )
    value, reading = found["y"]
    assert value.shape == (SAMPLES, 3, 1, WIDTH)
    assert reading.why == "it went through Slice, which featscope cannot follow"


def test_an_attention_lies_where_its_keys_lie():
    """(samples, heads, queries, keys): the mean of the heads, a map of the keys for each query."""
    nodes = [
        node("Conv", "x,w", "patches", group=3, strides=[4, 4]),
        node("Reshape", "patches,heads", "keys"),  # N, 3 heads, 1, 60
        node("Transpose", "keys", "queries", perm=[0, 1, 3, 2]),
        node("MatMul", "queries,keys", "scores"),
        node("Softmax", "scores", "weights", axis=-1),
        node("Transpose", "keys", "values", perm=[0, 1, 3, 2]),
        node("MatMul", "weights,values", "mixed"),
    ]
    found = run(nodes, [box(4, 4), number("heads", SAMPLES, 3, 1, 60)])
    value, reading = found["weights"]
    assert reading.axes == ("sample", "head", "channel", "token")
    [(part, laid)] = reading.apply(value)
    assert part.place.stride == (4, 4)
    np.testing.assert_allclose(laid, value.mean(1).reshape(SAMPLES, 60, 6, 10), rtol=1e-5)
    value, reading = found["mixed"]
    [(part, laid)] = reading.apply(value)
    assert part.place.first == (2, 2), "where its query lies"
    np.testing.assert_array_equal(laid, value.reshape(SAMPLES, 3, 6, 10))


def test_a_graph_that_cannot_be_run_so_leaves_all_unknown():
    graph = helper.make_graph(
        [node("Relu", "x", "y")], "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 8])], []
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    reading = Followed(model, "x", "NCHW", {"x": np.zeros((1, 3, 9, 8), np.float32)}).reading("y", (1, 3, 9, 8))
    assert reading.why.startswith("the graph cannot be followed: ")
    assert reading.axes == ("unknown",) * 4


# As PyTorch


def torchvision_model(name):
    return pytest.importorskip("torchvision").models.get_model(name, weights=None)


def vit(name):
    return pytest.importorskip("timm").create_model(name, pretrained=False, img_size=(64, 96))


def yolo(name):
    return pytest.importorskip("ultralytics").YOLO(name).model


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("build", "name", "least"),
    [
        (torchvision_model, "resnet18", 50),
        (torchvision_model, "swin_t", 160),
        (vit, "vit_tiny_patch16_224", 150),
        (yolo, "yolo11n.yaml", 300),
    ],
)
def test_a_graph_is_read_as_its_model_is(build, name, least, tmp_path):
    """Whatever a layer of PyTorch gave and the graph has too (batch norms are folded) has the same axes and place."""
    torch = pytest.importorskip("torch")
    import featscope

    torch.manual_seed(0)
    model = build(name).eval()
    for part in model.modules():
        if isinstance(part, torch.nn.BatchNorm2d):  # so that it is not the identity
            part.running_mean.normal_(0, 0.2)
            part.running_var.uniform_(0.5, 1.5)
    image = torch.rand(1, 3, 64, 96)
    sink = featscope.MemorySink()
    path = str(tmp_path / "model.onnx")
    with torch.no_grad():
        with featscope.capture(model, ["**"], sink, on_error="warn"):
            model(image)
        torch.onnx.export(model, (image,), path, input_names=["x"], opset_version=17, dynamo=False)
    graph = onnx.load(path)
    found = Followed(graph, "x", "NCHW", {"x": image.numpy()})
    names = [name for one in graph.graph.node for name in one.output if name and one.op_type != "Constant"]
    del graph.graph.output[:]
    graph.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])
    stored = {}  # shape -> the graph's maps
    for name, array in zip(names, session.run(None, {"x": image.numpy()})):
        for part, laid in found.reading(name, array.shape).apply(array):
            stored.setdefault(laid.shape, []).append((part, laid))
    same = 0
    for captured, array in sink.stored:
        if captured.place is None:
            continue
        limit = 1e-4 * max(1, float(np.abs(array).max()))
        twins = [part for part, laid in stored.get(array.shape, []) if np.abs(laid - array).max() <= limit]
        if twins:
            same += 1
            assert any(part.axes == captured.axes and part.place == captured.place for part in twins), captured
    assert same >= least
