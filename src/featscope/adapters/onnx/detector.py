"""Run ONNX files with ONNX Runtime, without torch. Each tensor of the graph is a layer, by its name."""

from __future__ import annotations

from dataclasses import replace
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Dict, Iterator, List, Mapping, Optional, Sequence, Tuple, Union, cast

import msgspec
import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx.external_data_helper import (
    ExternalDataInfo,
    _get_all_tensors,
    load_external_data_for_model,
    uses_external_data,
)
from onnxruntime.capi.onnxruntime_pybind11_state import (
    Fail,
    InvalidArgument,
    InvalidGraph,
    InvalidProtobuf,
    NotImplemented,
    RuntimeException,
)

from featscope.adapters.detector import (
    Detected,
    Detector,
    Item,
    Opening,
    load_picture,
    no_candidates,
    refuse_unused,
    versions,
)
from featscope.adapters.onnx.capture import GraphFacts, OnnxCapture
from featscope.adapters.onnx.following import Followed
from featscope.adapters.onnx.inputs import GraphInputs, Part
from featscope.adapters.onnx.values import WEIGHTS, Array, Values
from featscope.adapters.preprocessing import Preprocessing
from featscope.arrays.readings import Reading
from featscope.capturing.given import GivenReadings
from featscope.capturing.protocol import CaptureSession
from featscope.capturing.reports import LayerReport, ModelReport, tensor_report
from featscope.errors import BadOptionError, CaptureError, unknown_name
from featscope.records import Picture, Policy, RunInfo, Sink
from featscope.store.files import inside

_ERRORS = (Fail, InvalidArgument, InvalidGraph, InvalidProtobuf, NotImplemented, RuntimeException)
_WIDENED = ("bfloat16", "float8", "float4", "int4", "uint4", "int2", "uint2")  # NumPy does not have these types


class OnnxModel(Detector):
    """An ONNX graph. `model` is the parsed file.

    The meaning of the outputs is unknown: maps are captured with their places, but boxes are not read.
    """

    model: onnx.ModelProto  # type: ignore[assignment, unused-ignore] # not a module; `capture` and `report` are overridden

    def __init__(
        self, model: onnx.ModelProto, info: RunInfo, inputs: GraphInputs, fit: Preprocessing, path: str
    ) -> None:
        super().__init__(model, info)
        self._inputs, self._fit, self._path = inputs, fit, path
        #: Tensor -> kind of the node that computes it, in the order of the graph.
        self.tensors = _tensors_of(model.graph)
        self._outputs = [value.name for value in model.graph.output if value.name in self.tensors]
        self._session: Optional[OnnxCapture] = None
        self._runtimes: Dict[Tuple[str, ...], _Runtime] = {}
        self._followed: Dict[int, Followed] = {}

    def prepare(self, image: Union[Path, Picture], sample_id: str) -> Item:
        """Resize an image to the file's input."""
        picture, sample = load_picture(image, sample_id, self._fit.reading)
        inputs, seen, geometry = self._fit(self._inputs.picture(picture), self._inputs.size)
        return Item(msgspec.structs.replace(sample, geometry=geometry), inputs, seen)

    def detect(self, items: Sequence[Item], candidates: bool = False) -> List[Detected]:
        """Run the graph and pass its tensors to the running capture, if there is one.

        During a capture, only images that it stores are run.
        """
        if candidates:
            raise no_candidates(self)
        if self._session is None:
            list(self.run(self._outputs, _inputs_of(items)))
        else:
            kept = self._session.rows([item.sample for item in items])
            if kept:
                self._session.take(list(self.run(self._session.tensors, _inputs_of([items[row] for row in kept]))))
        return [Detected(item.sample) for item in items]

    def run(self, names: Sequence[str], images: Sequence[NDArray[np.float32]]) -> Iterator[Values]:
        """Yield the values of tensors for images from `prepare`, for one run of the graph after the other."""
        key = tuple(names)
        if key not in self._runtimes:
            self._runtimes = {key: _Runtime(self.model, key, self._path)}
        for part in self._inputs.parts(images):
            yield Values(part.images, part.batch, self._runtimes[key].run(part.feed), partial(self._read, part))

    def _read(self, part: Part, name: str, array: Array) -> Reading:
        """Return how a tensor is read. The graph is followed once for each batch size."""
        if part.batch not in self._followed:
            image = self._inputs.image
            self._followed[part.batch] = Followed(self.model, image.name, image.axes, part.feed)
        return self._followed[part.batch].reading(name, array.shape)

    def choose(self, layers: Optional[Sequence[str]]) -> List[str]:
        """Return the tensors that names and globs choose, in the order of the graph; by default the outputs.

        Raises `UnknownNameError` for a name that the graph does not have.
        """
        includes = [pattern for pattern in layers or () if not pattern.startswith("!")]
        excludes = [pattern[1:] for pattern in layers or () if pattern.startswith("!")]
        for pattern in (*includes, *excludes):
            if not any(_matches(name, [pattern]) for name in self.tensors):
                raise unknown_name("tensor", pattern, self.tensors, f"featscope layers {self.info.config}")
        return self._chosen(includes, excludes)

    def _chosen(self, includes: Sequence[str], excludes: Sequence[str]) -> List[str]:
        proposed = [name for name in self._outputs if self.tensors[name] not in WEIGHTS]
        wanted = [name for name in self.tensors if (_matches(name, includes) if includes else name in proposed)]
        chosen = [name for name in wanted if not _matches(name, excludes)]
        if not chosen:
            raise CaptureError(
                f"no tensor of {self._path} is left to capture; to see all: featscope layers {self.info.config}"
            )
        return chosen

    def capture(
        self,
        layers: Optional[Sequence[str]],
        to: Union[str, Path, Sink, None],
        *,
        names: Optional[Mapping[str, str]] = None,
        policy: Union[Policy, Mapping[str, object], None] = None,
        resume: bool = False,
        on_error: str = "raise",
        dataset_size: Optional[int] = None,
        info: Optional[RunInfo] = None,
        axes: Optional[Mapping[str, str]] = None,
    ) -> CaptureSession:
        """Capture tensors. Options are as in `featscope.capture`, except for ranks."""
        asked = any(not pattern.startswith("!") for pattern in layers or ())
        chosen = self.choose(layers)
        facts = GraphFacts(self.info.config, self.tensors, self._inputs.size, "N" not in self._inputs.image.axes)
        session = OnnxCapture(
            facts,
            chosen,
            to,
            info=info or self.info,
            on_close=self.end_capture,
            asked=asked,
            names=names,
            policy=policy,
            resume=resume,
            on_error=on_error,
            dataset_size=dataset_size,
            axes=axes,
        )
        for name in () if asked else self._outputs:
            if self.tensors[name] in WEIGHTS:
                session.say(f"the output {name!r} is a weight, which does not depend on images; to store it: -l {name}")
        self._session = session
        return session

    def end_capture(self) -> None:
        """End the capture, so that the graph runs with its own outputs again."""
        self._session = None

    def report(self, item: Item, axes: Optional[Mapping[str, str]] = None) -> ModelReport:
        """Report every tensor of the graph with its shape and its reading, after one run."""
        run = next(self.run(list(self.tensors), _inputs_of([item])))
        given = GivenReadings(axes)
        layers = []
        size = self._inputs.size
        for name, kind in self.tensors.items():
            value = run.found[name]
            arrays = [np.asarray(one) for one in (value if isinstance(value, list) else [value]) if one is not None]
            readings = [given.checked(name, "", one, run.read(name, one)) for one in arrays]
            layers.append(LayerReport(name, kind, 1, {"": [tensor_report(one, size) for one in readings]}))
        return ModelReport(layers, [], size)


def _tensors_of(graph: onnx.GraphProto) -> Dict[str, str]:
    """Return the tensors that may be captured: results of nodes, and inputs or weights that are also outputs."""
    made = {name: node.op_type for node in graph.node for name in node.output if name}
    outputs = [value.name for value in graph.output]
    given = {value.name: "Input" for value in graph.input}
    given.update({one.name: "Initializer" for one in graph.initializer})
    return {
        **{name: given[name] for name in outputs if name in given},
        **{name: kind for name, kind in made.items() if kind != "Constant" or name in outputs},
    }


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(name == pattern or fnmatchcase(name, pattern) for pattern in patterns)


def _inputs_of(items: Sequence[Item]) -> List[NDArray[np.float32]]:
    """Return the inputs that `prepare` made."""
    return [cast("NDArray[np.float32]", item.inputs) for item in items]


class _Runtime:
    """A session of ONNX Runtime that returns certain tensors of a graph."""

    def __init__(self, model: onnx.ModelProto, names: Sequence[str], path: str) -> None:
        self._names, self._path, self._model = list(names), path, model
        self._asked = list(names)
        changed = onnx.ModelProto()
        changed.CopyFrom(model)
        there = {value.name for value in changed.graph.output}
        changed.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in there)
        self._session = self._load(changed)
        kinds = {value.name: str(value.type) for value in self._session.get_outputs()}
        narrow = [name for name in names if kinds[name].startswith(tuple(f"tensor({kind}" for kind in _WIDENED))]
        if narrow:
            self._widen(changed, narrow)
            self._session = self._load(changed)

    def _widen(self, changed: onnx.ModelProto, narrow: Sequence[str]) -> None:
        """Convert tensors to float32 if NumPy does not have their type."""
        taken = {name for node in changed.graph.node for name in (*node.input, *node.output)}
        for name in narrow:
            wide = next(free for free in (f"{name}_{i}" for i in range(len(taken) + 1)) if free not in taken)
            changed.graph.node.append(onnx.helper.make_node("Cast", [name], [wide], to=onnx.TensorProto.FLOAT))
            changed.graph.output.append(onnx.ValueInfoProto(name=wide))
            self._asked[self._names.index(name)] = wide
            taken.add(wide)

    def run(self, feed: Dict[str, NDArray[np.generic]]) -> Dict[str, object]:
        """Run the graph and return its tensors."""
        try:
            return dict(zip(self._names, self._session.run(self._asked, feed)))
        except (*_ERRORS, RuntimeError, ValueError) as error:
            sizes = ", ".join(f"{name} {value.shape}" for name, value in feed.items())
            raise CaptureError(
                f"{self._path} cannot be run on {sizes}: {_first_line(error)}; try another size: --input-size"
            ) from None

    def _load(self, model: onnx.ModelProto) -> onnxruntime.InferenceSession:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        try:
            return onnxruntime.InferenceSession(
                model.SerializeToString(), sess_options=options, providers=["CPUExecutionProvider"]
            )
        except (*_ERRORS, ValueError) as error:  # ValueError comes from protobuf for more than 2 GB
            domains = {n.domain for n in model.graph.node} - {"", "ai.onnx", "com.microsoft"}
            kinds = sorted({f"{node.domain}.{node.op_type}" for node in model.graph.node if node.domain in domains})
            custom = (
                f"it uses custom operators ({', '.join(kinds)}), which ONNX Runtime does not know; " if kinds else ""
            )
            raise CaptureError(f"{self._path} cannot be run: {custom}{_first_line(error)}") from None


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]


def open_detector(opening: Opening) -> Detector:
    """Open an ONNX file."""
    refuse_unused(opening, score_threshold="what it detects is unknown", config_options="it has no config", inputs="")
    path = opening.target
    if not Path(path).is_file():
        raise BadOptionError(f"the file {path} does not exist; give a .onnx file")
    if opening.checkpoint:
        raise BadOptionError(f"{path} contains its weights; leave out {opening.checkpoint!r}")
    model = _load(path)
    layout = Preprocessing().changed(opening.preprocess).layout
    inputs = GraphInputs(model, path, layout, opening.inputs, opening.input_size)
    image = inputs.image
    # Integer inputs usually take pixels from 0 to 255, float inputs from 0 to 1.
    fit = Preprocessing(fit="letterbox", range=255.0 if image.dtype.kind in "iu" else 1.0).changed(opening.preprocess)
    fit = replace(fit, layout="nhwc" if image.axes.endswith("C") else "nchw")
    info = RunInfo(
        model=model.graph.name or Path(path).stem,
        config=f"onnx:{path}",
        parameters=sum(int(np.prod(tensor.dims)) for tensor in model.graph.initializer),
        versions=versions("onnx", "onnxruntime"),
    )
    return OnnxModel(model, info, inputs, fit, path)


def _load(path: str) -> onnx.ModelProto:
    try:
        model = onnx.load(path, load_external_data=False)
    except Exception as error:  # noqa: BLE001 (protobuf's own errors have no common base)
        raise CaptureError(f"{path} is not an ONNX file: {str(error)[:160]}") from None
    if not model.graph.node and not model.graph.output:
        raise CaptureError(f"{path} is not an ONNX file: it does not contain a graph")
    folder = Path(path).absolute().parent
    try:
        for tensor in filter(uses_external_data, _get_all_tensors(model)):
            # Some versions of onnx follow links out of the folder, and block forever on a pipe.
            if not inside(folder, ExternalDataInfo(tensor).location).is_file():
                raise FileNotFoundError(f"{ExternalDataInfo(tensor).location!r} is not a file in its folder")
        load_external_data_for_model(model, str(folder))
    except Exception as error:  # noqa: BLE001 (the errors of onnx have no common base)
        raise CaptureError(
            f"{path} keeps its weights in another file, which cannot be read: {_first_line(error)}; "
            "put it in the same folder"
        ) from None
    return model
