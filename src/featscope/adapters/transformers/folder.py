"""Load a folder written by `save_pretrained`, without downloads, code in the folder, or pickle."""

from __future__ import annotations

import inspect
import pickle
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import (
    TYPE_CHECKING,
    Any,
    Callable,
    Dict,
    Iterator,
    List,
    Mapping,
    NamedTuple,
    Optional,
    Sequence,
    Tuple,
    Type,
    Union,
    cast,
)

import numpy as np
import torch
import transformers
from huggingface_hub import constants
from huggingface_hub.errors import OfflineModeIsEnabled

from featscope.adapters.detector import RANDOM, Opening
from featscope.adapters.transformers.processor import PIXELS, quiet
from featscope.adapters.weights import read_weights
from featscope.errors import BadOptionError, CaptureError, first_line
from featscope.records import Size

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase
    from transformers.image_processing_utils import BaseImageProcessor

_SAFE = ("model.safetensors", "model.safetensors.index.json")
_WEIGHTS = (*_SAFE, "pytorch_model.bin", "pytorch_model.bin.index.json")
_PROCESSORS = ("preprocessor_config.json", "processor_config.json")
_TOKENIZERS = ("tokenizer.json", "vocab.json", "vocab.txt", "spiece.model")


_Way = Optional[Type["BaseImageProcessor"]]
_Ways = Dict[str, _Way]
_Loaded = Tuple["PreTrainedModel", Mapping[str, Sequence[Any]]]  # a model, and what did not fit


class Folder(NamedTuple):
    """The content of a folder."""

    model: PreTrainedModel

    checkpoint: str
    """Path of the weights, or `RANDOM`."""

    processor: BaseImageProcessor

    remarks: Sequence[str]
    """Remarks on how images are fed."""


def open_folder(opening: Opening) -> Folder:
    """Load the model in a folder with all its weights, and its image processor.

    Raises `BadOptionError` if the folder does not contain a model, and `CaptureError` if it cannot be loaded
    completely.
    """
    folder = Path(opening.target)
    if not (folder / "config.json").is_file():
        raise BadOptionError(f"{folder} does not contain config.json; give a folder written by save_pretrained")
    with quiet(), _offline():
        config = _config(folder)
        kind = _kind(folder, config)
        checkpoint = opening.checkpoint or next((str(folder / n) for n in _WEIGHTS if (folder / n).is_file()), "")
        if not checkpoint:
            raise BadOptionError(
                f"{folder} does not contain weights ({', '.join(_WEIGHTS)}); give a file, or {RANDOM!r} for "
                "random weights"
            )
        torch.manual_seed(opening.seed)
        if checkpoint == RANDOM:
            # 'eager' attention computes its weights explicitly, so that they can be captured.
            try:
                model = kind._from_config(config, attn_implementation="eager")  # type: ignore[no-untyped-call, unused-ignore]
            except Exception as error:
                raise CaptureError(
                    f"the {kind.__name__} of {folder}/config.json cannot be made: {first_line(error)}"
                ) from error
        else:
            model = _load(kind, config, checkpoint, folder, opening.trusted)
        processor, remarks = _processor(folder, config, opening.input_size)
    return Folder(model, checkpoint, processor, () if checkpoint == RANDOM else remarks)


def inputs_of(kind: Type[PreTrainedModel]) -> Sequence[str]:
    """Return the names of the inputs of a class of models."""
    return list(inspect.signature(kind.forward).parameters)


def tokenizer_of(folder: Path) -> Optional[PreTrainedTokenizerBase]:
    """Return the tokenizer in a folder; None if there is none that can be read."""
    if not any((folder / name).is_file() for name in _TOKENIZERS):
        return None
    with quiet(), _offline():
        try:
            return transformers.AutoTokenizer.from_pretrained(
                str(folder), local_files_only=True, trust_remote_code=False
            )
        except Exception:  # noqa: BLE001 (a tokenizer that cannot be loaded is the same as none)
            return None


@contextmanager
def _offline() -> Iterator[None]:
    """Keep the library offline in a block, because a config may name a part of the model to download."""
    before, constants.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE, True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def _config(folder: Path) -> PreTrainedConfig:
    try:
        config = transformers.AutoConfig.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    except OfflineModeIsEnabled as error:
        raise CaptureError(
            f"{folder}/config.json refers to a part of the model that would have to be downloaded; load the model in "
            "your own script, and save it again with save_pretrained"
        ) from error
    except Exception as error:
        raise CaptureError(f"{folder}/config.json cannot be read: {first_line(error)}") from error
    for part in (config, getattr(config, "backbone_config", None)):
        if part is not None and hasattr(
            part, "use_pretrained_backbone"
        ):  # the backbone's weights must come from the folder
            part.use_pretrained_backbone = False
    return config


def _kind(folder: Path, config: PreTrainedConfig) -> Type[PreTrainedModel]:
    """Return the class from which the folder's model was saved."""
    name = (getattr(config, "architectures", None) or [""])[0]
    kind = getattr(transformers, name, None) if name else _usual_kind(config)
    if not (isinstance(kind, type) and issubclass(kind, transformers.PreTrainedModel)):
        raise CaptureError(
            f"{folder} contains a {name or config.model_type}, which is not a model of transformers "
            f"{transformers.__version__}, and code in a folder is not run; open it in your own script, and capture it "
            "there with featscope.capture"
        )
    if PIXELS not in inputs_of(kind):
        raise CaptureError(f"{folder} contains a {kind.__name__}, which does not take images ({PIXELS})")
    return kind


def _usual_kind(config: PreTrainedConfig) -> Optional[type]:
    """Return the class for a config that does not name one, preferably a detector."""
    for auto in (transformers.AutoModelForObjectDetection, transformers.AutoModel, transformers.AutoBackbone):
        if type(config) in auto._model_mapping:
            found = auto._model_mapping[type(config)]
            return found[0] if isinstance(found, (tuple, list)) else found
    return None


def _load(
    kind: Type[PreTrainedModel], config: PreTrainedConfig, checkpoint: str, folder: Path, trusted: bool
) -> PreTrainedModel:
    """Load a model with all weights of a checkpoint. The library does it, because it renames weights when saving."""
    place = Path(checkpoint)
    own = place.parent == folder and place.name in _WEIGHTS and not (trusted and place.name == _WEIGHTS[2])
    weights = None if own else read_weights(checkpoint, trusted)
    described = f"the {kind.__name__} that {folder}/config.json describes"
    load = cast(Callable[..., _Loaded], kind.from_pretrained)
    if config.model_type == "timm_backbone":  # whose own method takes the folder as the name of a model to download
        load = super(kind, kind).from_pretrained  # type: ignore[misc, unused-ignore]
    try:
        model, found = load(
            str(folder) if own else None,
            config=config,
            state_dict=weights,
            use_safetensors=place.name in _SAFE,
            weights_only=not trusted,
            local_files_only=True,
            trust_remote_code=False,
            attn_implementation="eager",
            ignore_mismatched_sizes=True,  # they are reported below
            output_loading_info=True,
        )
    except pickle.UnpicklingError as error:
        raise CaptureError(
            f"{checkpoint} contains more than weights; if you trust its source, add --trust-checkpoint"
        ) from error
    except Exception as error:
        raise CaptureError(f"{checkpoint} cannot be loaded into {described}: {first_line(error)}") from error
    wrong = _does_not_fit(found)
    if wrong:
        raise CaptureError(
            f"{checkpoint} does not fit {described}: {wrong}; give the weights that belong to it, or "
            f"{RANDOM!r} for random weights"
        )
    return model


def _does_not_fit(found: Mapping[str, Sequence[Any]]) -> str:
    """Describe which weights were missing or had another shape, from the library's report; '' if all fit."""
    missing = sorted(name for name in found["missing_keys"] if not name.endswith("num_batches_tracked"))
    mismatched = sorted(found["mismatched_keys"])
    other = [f"{name} is {tuple(there)} instead of {tuple(here)}" for name, there, here in mismatched]
    if not missing and not other:
        return ""
    example = f"{len(missing)} tensors are missing" if missing else f"{len(other)} tensors have a different shape"
    some = ", ".join((missing or other)[:3]) + (", ..." if len(missing or other) > 3 else "")
    return f"{example} ({some})"


def _processor(
    folder: Path, config: PreTrainedConfig, size: Optional[Size]
) -> Tuple[BaseImageProcessor, Sequence[str]]:
    """Return the folder's image processor, or with a remark the usual one for its kind of model."""
    remarks: Sequence[str] = ()
    if any((folder / name).is_file() for name in _PROCESSORS):
        make: Callable[..., BaseImageProcessor] = partial(
            transformers.AutoImageProcessor.from_pretrained,
            str(folder),
            local_files_only=True,
            trust_remote_code=False,
        )
    else:
        kind = _usual_processor(config)
        if kind is None:
            raise BadOptionError(
                f"{folder} does not contain an image processor: {_PROCESSORS[0]} is missing; save the image processor "
                f"of the model in it, such as transformers.ViTImageProcessor().save_pretrained({str(folder)!r})"
            )
        make = kind
        remarks = [f"{folder} does not contain an image processor; images are prepared by {kind.__name__}"]
    try:
        made = make()
    except Exception as error:
        raise CaptureError(f"the image processor of {folder} cannot be made: {first_line(error)}") from error
    return (_fitted(make, made, size) if size else made), remarks


def _fitted(make: Callable[..., BaseImageProcessor], usual: BaseImageProcessor, size: Size) -> BaseImageProcessor:
    """Return an image processor that fits images to a size. Some only support a shortest edge and a crop."""
    ways: List[Dict[str, object]] = [{"size": {"height": size[0], "width": size[1]}, "do_center_crop": False}]
    if size[0] == size[1]:
        ways.append({"size": {"shortest_edge": size[0]}, "crop_size": {"height": size[0], "width": size[1]}})
    for options in ways:
        try:
            made = make(**options)
            if tuple(made(images=np.zeros((96, 64, 3), np.uint8), return_tensors="pt")[PIXELS].shape[-2:]) == size:
                return made
        except Exception:  # noqa: BLE001 (try the next way)
            continue
    raise BadOptionError(
        f"{type(usual).__name__} cannot resize images to {size[0]} x {size[1]}; leave out --input-size"
        + ("" if size[0] == size[1] else f", or try a square: --input-size {size[0]}")
    )


def _usual_processor(config: PreTrainedConfig) -> Optional[Type[BaseImageProcessor]]:
    from transformers.models.auto.image_processing_auto import IMAGE_PROCESSOR_MAPPING
    from transformers.utils.import_utils import is_torchvision_available

    if type(config) not in IMAGE_PROCESSOR_MAPPING:
        return None
    kinds: Union[_Ways, Sequence[_Way]] = IMAGE_PROCESSOR_MAPPING[type(config)]
    named: _Ways = kinds if isinstance(kinds, dict) else dict(zip(("pil", "torchvision"), kinds))
    ways = ("torchvision", "pil") if is_torchvision_available() else ("pil",)  # the order of the library
    return next((named[way] for way in ways if named.get(way) is not None), None)
