"""A folder of `save_pretrained`, loaded by the library itself: no download, no code of the folder, no pickle."""

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
_Loaded = Tuple["PreTrainedModel", Mapping[str, Sequence[Any]]]  # a model, and what did not fit it


class Folder(NamedTuple):
    """What a folder holds. checkpoint: where the weights are from, or `RANDOM`. remarks: on how images are fed."""

    model: PreTrainedModel
    checkpoint: str
    processor: BaseImageProcessor
    remarks: Sequence[str]


def open_folder(opening: Opening) -> Folder:
    """The model of a folder with all of its weights, and its image processor.

    Raises `BadOptionError` for a folder that holds no model, `CaptureError` for one that cannot be loaded whole.
    """
    folder = Path(opening.target)
    if not (folder / "config.json").is_file():
        raise BadOptionError(f"{folder} holds no config.json; name a folder that save_pretrained wrote")
    with quiet(), _offline():
        config = _config(folder)
        kind = _kind(folder, config)
        checkpoint = opening.checkpoint or next((str(folder / n) for n in _WEIGHTS if (folder / n).is_file()), "")
        if not checkpoint:
            raise BadOptionError(
                f"{folder} holds no weights ({', '.join(_WEIGHTS)}); name a file, or {RANDOM!r} for none"
            )
        torch.manual_seed(opening.seed)
        if checkpoint == RANDOM:
            # Attention that keeps its weights: asked for, they are captured; other kinds never have them.
            try:
                model = kind._from_config(config, attn_implementation="eager")  # type: ignore[no-untyped-call, unused-ignore]
            except Exception as error:
                raise CaptureError(
                    f"no {kind.__name__} can be made as {folder}/config.json describes it: {first_line(error)}"
                ) from error
        else:
            model = _load(kind, config, checkpoint, folder, opening.trusted)
        processor, remarks = _processor(folder, config, opening.input_size)
    return Folder(model, checkpoint, processor, () if checkpoint == RANDOM else remarks)


def inputs_of(kind: Type[PreTrainedModel]) -> Sequence[str]:
    """What the models of a class can be given, by name."""
    return list(inspect.signature(kind.forward).parameters)


def tokenizer_of(folder: Path) -> Optional[PreTrainedTokenizerBase]:
    """The folder's tokenizer; None where it has none that can be read."""
    if not any((folder / name).is_file() for name in _TOKENIZERS):
        return None
    with quiet(), _offline():
        try:
            return transformers.AutoTokenizer.from_pretrained(
                str(folder), local_files_only=True, trust_remote_code=False
            )
        except Exception:  # noqa: BLE001 (whatever is wrong with it, there is none)
            return None


@contextmanager
def _offline() -> Iterator[None]:
    """A block in which the library asks no host for anything: a config may name one for a part of its model."""
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
            f"{folder}/config.json names a part of the model that lies elsewhere, and nothing is downloaded; load the "
            "model in a script of your own, and save it anew with save_pretrained"
        ) from error
    except Exception as error:
        raise CaptureError(f"{folder}/config.json cannot be read: {first_line(error)}") from error
    for part in (config, getattr(config, "backbone_config", None)):
        if part is not None and hasattr(part, "use_pretrained_backbone"):  # its weights are in the folder, or nowhere
            part.use_pretrained_backbone = False
    return config


def _kind(folder: Path, config: PreTrainedConfig) -> Type[PreTrainedModel]:
    """The class of the folder's model: the one that it was saved from."""
    name = (getattr(config, "architectures", None) or [""])[0]
    kind = getattr(transformers, name, None) if name else _usual_kind(config)
    if not (isinstance(kind, type) and issubclass(kind, transformers.PreTrainedModel)):
        raise CaptureError(
            f"{folder} holds a {name or config.model_type}, which is no model of transformers "
            f"{transformers.__version__}, and no code of a folder is run; open it in a script of your own, and put "
            "featscope.capture around it"
        )
    if PIXELS not in inputs_of(kind):
        raise CaptureError(f"{folder} holds a {kind.__name__}, which takes no images ({PIXELS})")
    return kind


def _usual_kind(config: PreTrainedConfig) -> Optional[type]:
    """The class for a config that names none: a detector, where there is one."""
    for auto in (transformers.AutoModelForObjectDetection, transformers.AutoModel, transformers.AutoBackbone):
        if type(config) in auto._model_mapping:
            found = auto._model_mapping[type(config)]
            return found[0] if isinstance(found, (tuple, list)) else found
    return None


def _load(
    kind: Type[PreTrainedModel], config: PreTrainedConfig, checkpoint: str, folder: Path, trusted: bool
) -> PreTrainedModel:
    """A model with all of a checkpoint's weights, which the library knows by other names than it saves them by."""
    place = Path(checkpoint)
    own = place.parent == folder and place.name in _WEIGHTS and not (trusted and place.name == _WEIGHTS[2])
    weights = None if own else read_weights(checkpoint, trusted)
    described = f"the {kind.__name__} that {folder}/config.json describes"
    load = cast(Callable[..., _Loaded], kind.from_pretrained)
    if config.model_type == "timm_backbone":  # whose own takes the folder for the name of a model to download
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
            ignore_mismatched_sizes=True,  # they are named below
            output_loading_info=True,
        )
    except pickle.UnpicklingError as error:
        raise CaptureError(
            f"{checkpoint} holds more than weights; if you trust its source, add --trust-checkpoint"
        ) from error
    except Exception as error:
        raise CaptureError(f"{checkpoint} cannot be loaded into {described}: {first_line(error)}") from error
    wrong = _does_not_fit(found)
    if wrong:
        raise CaptureError(
            f"{checkpoint} does not fill {described}: {wrong}; name the weights that belong to it, or "
            f"{RANDOM!r} for none"
        )
    return model


def _does_not_fit(found: Mapping[str, Sequence[Any]]) -> str:
    """What was missing or of another shape when weights were loaded, by what the library tells; '' for nothing."""
    missing = sorted(name for name in found["missing_keys"] if not name.endswith("num_batches_tracked"))
    mismatched = sorted(found["mismatched_keys"])
    other = [f"{name} is {tuple(there)} and not {tuple(here)}" for name, there, here in mismatched]
    if not missing and not other:
        return ""
    example = f"{len(missing)} tensors are missing" if missing else f"{len(other)} tensors have another shape"
    some = ", ".join((missing or other)[:3]) + (", ..." if len(missing or other) > 3 else "")
    return f"{example} ({some})"


def _processor(
    folder: Path, config: PreTrainedConfig, size: Optional[Size]
) -> Tuple[BaseImageProcessor, Sequence[str]]:
    """How the folder's images are fed: as it says, or as is usual for its kind of model, which is said then."""
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
                f"{folder} does not say how images are fed: it has no {_PROCESSORS[0]}; save the image processor of "
                f"its model into it, as with transformers.ViTImageProcessor().save_pretrained({str(folder)!r})"
            )
        make = kind
        remarks = [f"{folder} does not say how images are fed: they are fed as {kind.__name__} does"]
    try:
        made = make()
    except Exception as error:
        raise CaptureError(f"the image processor of {folder} cannot be made: {first_line(error)}") from error
    return (_fitted(make, made, size) if size else made), remarks


def _fitted(make: Callable[..., BaseImageProcessor], usual: BaseImageProcessor, size: Size) -> BaseImageProcessor:
    """An image processor that fits images to a size. Some know a shortest edge only, and crop the rest."""
    ways: List[Dict[str, object]] = [{"size": {"height": size[0], "width": size[1]}, "do_center_crop": False}]
    if size[0] == size[1]:
        ways.append({"size": {"shortest_edge": size[0]}, "crop_size": {"height": size[0], "width": size[1]}})
    for options in ways:
        try:
            made = make(**options)
            if tuple(made(images=np.zeros((96, 64, 3), np.uint8), return_tensors="pt")[PIXELS].shape[-2:]) == size:
                return made
        except Exception:  # noqa: BLE001 (not this way)
            continue
    raise BadOptionError(
        f"{type(usual).__name__} cannot fit images to {size[0]} x {size[1]}; leave --input-size out"
        + ("" if size[0] == size[1] else f", or try a square: --input-size {size[0]}")
    )


def _usual_processor(config: PreTrainedConfig) -> Optional[Type[BaseImageProcessor]]:
    from transformers.models.auto.image_processing_auto import IMAGE_PROCESSOR_MAPPING
    from transformers.utils.import_utils import is_torchvision_available

    if type(config) not in IMAGE_PROCESSOR_MAPPING:
        return None
    kinds: Union[_Ways, Sequence[_Way]] = IMAGE_PROCESSOR_MAPPING[type(config)]
    named: _Ways = kinds if isinstance(kinds, dict) else dict(zip(("pil", "torchvision"), kinds))
    ways = ("torchvision", "pil") if is_torchvision_available() else ("pil",)  # as the library chooses
    return next((named[way] for way in ways if named.get(way) is not None), None)
