"""ONNX files by ONNX Runtime: any tensor of the graph is a layer by its name, without torch."""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path
from types import TracebackType
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple, Type, Union

import msgspec
import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnxruntime.capi.onnxruntime_pybind11_state import (
    Fail,
    InvalidArgument,
    InvalidGraph,
    InvalidProtobuf,
    NotImplemented,
)

from featscope.adapters.detector import (
    Detected,
    Detector,
    Item,
    Opening,
    Picture,
    load_picture,
    no_candidates,
    refuse_unused,
    versions,
)
from featscope.adapters.preprocessing import Preprocessing
from featscope.arrays.reduce import reduce
from featscope.capturing.policy import SampleFilter
from featscope.capturing.reports import LayerReport, ModelReport
from featscope.errors import BadOptionError, BadRunError, CaptureError, unknown_name
from featscope.records import CapturedMap, Policy, RunInfo, Sample, Size, infer_stride
from featscope.arrays.channels import choose_channels
from featscope.store.files import safe_name
from featscope.store.writer import RunWriter

_FREE_SIDE = (640, 640)  # where the file leaves the input's size open


class OnnxModel(Detector):
    """A graph; `model` is the parsed file.

    What the outputs mean is not known: maps are captured and lie where they should, boxes are not read.
    """

    def __init__(self, model: Any, info: RunInfo, fit: Preprocessing, size: Optional[Size], path: str) -> None:
        super().__init__(model, info)
        self._fit, self._path = fit, path
        given = {tensor.name for tensor in model.graph.initializer}
        # Files of an old format list their weights among the inputs.
        inputs = [value for value in model.graph.input if value.name not in given]
        images = [value for value in inputs if len(value.type.tensor_type.shape.dim) == 4]
        if len(inputs) != 1 or len(images) != 1:
            raise CaptureError(
                f"{path} takes {len(inputs)} inputs ({', '.join(value.name for value in inputs)}); "
                "featscope feeds files that take one batch of images"
            )
        self._input = images[0]
        dims = [dim.dim_value for dim in self._input.type.tensor_type.shape.dim]
        self._fixed_batch = dims[0] if dims[0] > 0 else 0
        fixed = (dims[2], dims[3]) if dims[2] > 0 and dims[3] > 0 else None
        if size and fixed and size != fixed:
            raise BadOptionError(f"{path} takes images of {fixed[0]} x {fixed[1]} only; leave out --input-size")
        self._size: Size = fixed or size or _FREE_SIDE
        self._half = self._input.type.tensor_type.elem_type == onnx.TensorProto.FLOAT16
        #: Tensor -> the kind of node that makes it, in the order of the graph.
        self.tensors: Dict[str, str] = {
            name: node.op_type
            for node in model.graph.node
            for name in node.output
            if name and node.op_type != "Constant"
        }
        self._session: Optional[_OnnxCapture] = None
        self._runtimes: Dict[Tuple[str, ...], Any] = {}

    def prepare(self, image: Union[Path, Picture], sample_id: str) -> Item:
        """Fit an image to the file's input."""
        picture, sample = load_picture(image, sample_id)
        inputs, seen, geometry = self._fit(picture, self._size)
        return Item(msgspec.structs.replace(sample, geometry=geometry), inputs, seen)

    def detect(self, items: Sequence[Item], candidates: bool = False) -> List[Detected]:
        """Run the graph, and hand what it computes on the way to the capture, if there is one."""
        if candidates:
            raise no_candidates(self)
        names = (
            tuple(self._session.tensors) if self._session else tuple(value.name for value in self.model.graph.output)
        )
        found = self.run(names, np.stack([item.inputs for item in items]))
        if self._session:
            self._session.take(found, self._size)
        return [Detected(item.sample) for item in items]

    def run(self, names: Sequence[str], batch: NDArray[np.float32]) -> Dict[str, NDArray[np.generic]]:
        """The values of tensors for a batch of inputs, (N, 3, H, W), by name."""
        names = tuple(names)
        if names not in self._runtimes:
            self._runtimes = {names: self._runtime(names)}
        if self._half:
            batch = batch.astype(np.float16)
        size = self._fixed_batch or len(batch)
        if len(batch) % size:
            raise BadOptionError(f"{self._path} takes batches of {size} only; add --batch-size {size}")
        parts = [
            self._runtimes[names].run(list(names), {self._input.name: batch[start : start + size]})
            for start in range(0, len(batch), size)
        ]
        return {
            name: np.concatenate(values) if len(values) > 1 else values[0] for name, values in zip(names, zip(*parts))
        }

    def _runtime(self, names: Sequence[str]) -> Any:
        """A session whose outputs are these tensors."""
        changed = onnx.ModelProto()
        changed.CopyFrom(self.model)
        there = {value.name for value in changed.graph.output}
        changed.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in there)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        try:
            return onnxruntime.InferenceSession(
                changed.SerializeToString(), sess_options=options, providers=["CPUExecutionProvider"]
            )
        except (Fail, NotImplemented, InvalidGraph, InvalidArgument, InvalidProtobuf) as error:
            domains = sorted(
                {node.domain for node in self.model.graph.node if node.domain not in ("", "ai.onnx", "com.microsoft")}
            )
            kinds = sorted(
                {f"{node.domain}.{node.op_type}" for node in self.model.graph.node if node.domain in domains}
            )
            custom = (
                f"it uses custom operators ({', '.join(kinds)}), which ONNX Runtime does not know; " if kinds else ""
            )
            raise CaptureError(f"{self._path} cannot be run: {custom}{str(error).splitlines()[0][:300]}") from None

    def choose(self, layers: Optional[Sequence[str]]) -> List[str]:
        """The tensors that names and globs choose, in the order of the graph; without any, the outputs.

        Raises `UnknownNameError` for a name that the graph does not have.
        """
        patterns = list(layers or ())
        includes = [p for p in patterns if not p.startswith("!")] or [value.name for value in self.model.graph.output]
        excludes = [p[1:] for p in patterns if p.startswith("!")]
        for pattern in (*includes, *excludes):
            if not any(name == pattern or fnmatchcase(name, pattern) for name in self.tensors):
                raise unknown_name("tensor", pattern, self.tensors, f"featscope layers {self.info.config}")
        return [
            name
            for name in self.tensors
            if any(name == p or fnmatchcase(name, p) for p in includes)
            and not any(name == p or fnmatchcase(name, p) for p in excludes)
        ]

    def capture(self, layers: Optional[Sequence[str]], to: Any, **options: Any) -> Any:
        """A capture of tensors; options as of `featscope.capture`, but for ranks."""
        self._session = _OnnxCapture(self, self.choose(layers), to, **options)
        return self._session

    def end_capture(self) -> None:
        """The graph runs as it is again."""
        self._session = None

    def report(self, item: Item) -> ModelReport:
        """Every tensor of the graph with its shape, after one run."""
        found = self.run(list(self.tensors), item.inputs[None])
        layers = [
            LayerReport(name, kind, 1, {"": [tuple(int(n) for n in found[name].shape)]})
            for name, kind in self.tensors.items()
        ]
        return ModelReport(layers, [], self._size)


class _OnnxCapture:
    """A capture of a graph's tensors: what `featscope.capturing.session.Capture` is for a PyTorch model."""

    def __init__(
        self,
        model: OnnxModel,
        tensors: Sequence[str],
        to: Any,
        names: Optional[Mapping[str, str]] = None,
        policy: Optional[Policy] = None,
        resume: bool = False,
        on_error: str = "raise",
        dataset_size: Optional[int] = None,
        info: Optional[RunInfo] = None,
    ) -> None:
        if on_error != "raise":
            raise BadOptionError("ONNX files have no loop to go on with: leave out --on-error")
        self.tensors = list(tensors)
        self._model, self._policy = model, policy or Policy()
        self._folders = dict(names or {})
        for name in self._folders:
            if name not in self.tensors:
                raise unknown_name("captured tensor", name, self.tensors, "featscope capture --help")
        if self._policy.dtype in ("uint8", "bfloat16"):
            raise BadOptionError(f"--dtype {self._policy.dtype} needs torch, ONNX files run without; type float16")
        if isinstance(to, (str, Path)):
            info = msgspec.structs.replace(
                info or model.info, layers=self.tensors, names=self._folders, policy=self._policy
            )
            to = RunWriter(to, info, 0, resume=resume)
        self.sink = to
        self._samples = SampleFilter(self._policy, dataset_size, 0, 1)
        self._already: Mapping[int, Sequence[str]] = getattr(to, "stored", {})
        self._number, self._rows, self._ids = 0, [0], [""]

    def __enter__(self) -> _OnnxCapture:
        return self

    def __exit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self._model.end_capture()
        self.sink.close(kind is None)

    @property
    def wanted(self) -> bool:
        """Whether the batch has samples to store."""
        return bool(self._rows)

    def start_batch(self, number: int, sample_ids: Sequence[str], paths: Sequence[str] = ()) -> None:
        """Begin a batch: its number, and the ids and files of its samples."""
        self._number, self._ids = number, list(sample_ids)
        self._rows = self._samples.rows(len(sample_ids), list(zip(sample_ids, paths or [""] * len(sample_ids))))
        if number in self._already:
            before = list(self._already[number])
            if before != [self._ids[row] for row in self._rows]:
                raise BadRunError(f"batch {number} of the run holds {', '.join(before)}: the images are others now")
            self._rows = []

    def describe(self, samples: Sequence[Sample], pictures: Sequence[Optional[Picture]]) -> None:
        """Store what the batch's samples were."""
        for row in self._rows:
            self.sink.put_sample(msgspec.structs.replace(samples[row], batch=self._number), pictures[row])

    def take(self, found: Mapping[str, NDArray[np.generic]], input_size: Size) -> None:
        """Store the tensors of a batch."""
        levels: Dict[str, int] = {}
        for name in self.tensors:
            array = np.asarray(found[name])
            kind = self._model.tensors[name]
            folder = self._folders.get(name) or f"{safe_name(name.strip('/').replace('/', '.'))}.{kind.lower()}"
            if array.ndim and len(array) == len(self._ids):
                array = array[self._rows]
            array, reduced, channels = _thin(array, self._policy)
            stride = None
            if array.ndim == 4:
                stride = (infer_stride(input_size[0], array.shape[2]), infer_stride(input_size[1], array.shape[3]))
            level = levels.setdefault(folder, 0)
            levels[folder] += 1
            ids = [self._ids[row] for row in self._rows]
            captured = CapturedMap(
                name, kind, "", level, 0, self._number, ids, folder, stride, reduced=reduced, channels=channels
            )
            self.sink.put(captured, np.ascontiguousarray(array))


def _thin(array: NDArray[np.generic], policy: Policy) -> Tuple[NDArray[np.generic], str, Optional[NDArray[np.int64]]]:
    """What a policy keeps of an array, which reduction was made, and which channels are left."""
    reduced, channels = "", None
    if array.ndim == 4:
        if policy.channels:
            channels = np.array([choose_channels(image, policy.channels) for image in array], np.int64)
            array = np.stack([image[chosen] for image, chosen in zip(array, channels)])
        if policy.reduce:
            array = np.stack([np.asarray(reduce(image, policy.reduce))[None] for image in array])
            reduced = policy.reduce
    if policy.dtype and array.dtype.kind == "f":
        array = array.astype(policy.dtype)
    return array, reduced, channels


def open_detector(opening: Opening) -> Detector:
    """The graph of a file."""
    refuse_unused(opening, score_threshold="what it detects is not known", config_options="it has no config")
    path = opening.target
    if not Path(path).is_file():
        raise BadOptionError(f"the file {path} does not exist; name a .onnx file")
    if opening.checkpoint:
        raise BadOptionError(f"{path} has its weights inside; leave out {opening.checkpoint!r}")
    try:
        model = onnx.load(path)
    except Exception as error:  # noqa: BLE001 (protobuf's own errors have no common base)
        raise CaptureError(f"{path} is no ONNX file: {str(error)[:160]}") from None
    if not model.graph.node:
        raise CaptureError(f"{path} is no ONNX file: it holds no graph")
    info = RunInfo(
        model=model.graph.name or Path(path).stem,
        config=f"onnx:{path}",
        parameters=sum(int(np.prod(tensor.dims)) for tensor in model.graph.initializer),
        versions=versions("onnx", "onnxruntime"),
    )
    fit = Preprocessing(fit="letterbox").changed(opening.preprocess)
    return OnnxModel(model, info, fit, opening.input_size, path)
