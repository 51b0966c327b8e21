"""A folder that `save_pretrained` wrote, loaded by the library itself: no download, no code of the folder, no pickle."""

from __future__ import annotations

import pickle
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Dict, Iterator, List, NamedTuple, Optional, Sequence, Type

import torch
import transformers

from featscope.adapters.detector import RANDOM, Opening
from featscope.adapters.transformers_images import first_line
from featscope.adapters.weights import read_weights
from featscope.errors import BadOptionError, CaptureError
from featscope.records import Size

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel
    from transformers.image_processing_utils import BaseImageProcessor

_SAFE = ("model.safetensors", "model.safetensors.index.json")
_WEIGHTS = (*_SAFE, "pytorch_model.bin", "pytorch_model.bin.index.json")
_PROCESSORS = ("preprocessor_config.json", "processor_config.json")
_TOKENIZERS = ("tokenizer.json", "vocab.json", "vocab.txt", "spiece.model")
_KINDS = ("ObjectDetection", "ImageClassification", "UniversalSegmentation", "SemanticSegmentation", "DepthEstimation")

TEXT = "an object"


class Folder(NamedTuple):
    """What lies in a folder. checkpoint: where the weights are from; `RANDOM` for none."""

    model: PreTrainedModel
    checkpoint: str
    processor: BaseImageProcessor
    remarks: List[str]


def open_folder(opening: Opening) -> Folder:
    """The model and the image processor of a folder.

    Raises `BadOptionError` for a folder that holds no model, `CaptureError` for weights that do not fill it.
    """
    folder = Path(opening.target)
    if not (folder / "config.json").is_file():
        raise BadOptionError(f"{folder} holds no config.json; name a folder that save_pretrained wrote")
    with quiet_and_offline():
        config = _config(folder)
        kind = _kind(folder, config)
        checkpoint = opening.checkpoint or next((str(folder / n) for n in _WEIGHTS if (folder / n).is_file()), "")
        if not checkpoint:
            raise BadOptionError(
                f"{folder} holds no weights ({', '.join(_WEIGHTS)}); name a file, or {RANDOM!r} for none"
            )
        torch.manual_seed(opening.seed)
        if checkpoint == RANDOM:
            model = kind._from_config(config, attn_implementation="eager")
        else:
            model = _load(kind, config, checkpoint, folder, opening.trusted)
        processor, remarks = _processor(folder, config, opening.input_size)
    return Folder(model, checkpoint, processor, [] if checkpoint == RANDOM else remarks)


@contextmanager
def quiet_and_offline() -> Iterator[None]:
    """A block in which the library asks no host for anything, and prints no reports and bars."""
    from huggingface_hub import constants
    from transformers.utils import logging

    before, bars, verbosity = constants.HF_HUB_OFFLINE, logging.is_progress_bar_enabled(), logging.get_verbosity()
    constants.HF_HUB_OFFLINE = True
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def _config(folder: Path) -> PretrainedConfig:
    try:
        config = transformers.AutoConfig.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    except Exception as error:  # noqa: BLE001 (raised again, as one line)
        raise CaptureError(f"{folder}/config.json cannot be read: {first_line(error)}") from error
    for part in (config, getattr(config, "backbone_config", None)):
        if hasattr(part, "use_pretrained_backbone"):  # its weights are in the folder, or in none
            part.use_pretrained_backbone = False
    return config


def _kind(folder: Path, config: PretrainedConfig) -> Type[PreTrainedModel]:
    """The class of the folder's model: the one that wrote it."""
    name = (getattr(config, "architectures", None) or [""])[0]
    kind: Optional[Type[PreTrainedModel]] = getattr(transformers, name, None) if name else _kind_of(config)
    if kind is None:
        raise CaptureError(
            f"{folder} holds a {name or config.model_type!r}, which transformers {transformers.__version__} does not "
            "have; featscope runs no code of a folder: open it in a script, and put featscope.capture around the model"
        )
    if "pixel_values" not in kind.forward.__code__.co_varnames and not _takes_pixels(kind):
        raise CaptureError(f"{folder} holds a {kind.__name__}, which takes no images; name a model that sees")
    return kind


def _takes_pixels(kind: Type[PreTrainedModel]) -> bool:
    return "pixel_values" in parameters_of_forward(kind)


def parameters_of_forward(kind: type) -> Sequence[str]:
    """What a model can be given, by name."""
    import inspect

    return list(inspect.signature(kind.forward).parameters)  # type: ignore[attr-defined]


def _kind_of(config: PretrainedConfig) -> Optional[Type[PreTrainedModel]]:
    """The class for a config that does not name one: a detector's, if there is one."""
    for name in (*(f"AutoModelFor{kind}" for kind in _KINDS), "AutoModel"):
        mapping = getattr(transformers, name)._model_mapping
        if type(config) in mapping:
            found = mapping[type(config)]
            return found[0] if isinstance(found, (tuple, list)) else found
    return None


def _load(
    kind: Type[PreTrainedModel], config: PretrainedConfig, checkpoint: str, folder: Path, trusted: bool
) -> PreTrainedModel:
    """The model with all of a checkpoint's weights, under the names that the library gives them."""
    place = Path(checkpoint)
    own = place.parent == folder and place.name in _WEIGHTS
    weights = None if own else read_weights(checkpoint, trusted)
    try:
        # Attention that keeps its weights: asked for, they are captured; other kinds never have them.
        model, found = kind.from_pretrained(
            str(folder) if own else None,
            config=config,
            state_dict=weights,
            use_safetensors=place.name in _SAFE if own else None,
            weights_only=not trusted,
            local_files_only=True,
            trust_remote_code=False,
            attn_implementation="eager",
            output_loading_info=True,
        )
    except pickle.UnpicklingError as error:
        raise CaptureError(
            f"{checkpoint} holds more than weights; if you trust its source, add --trust-checkpoint"
        ) from error
    except Exception as error:  # noqa: BLE001 (raised again, as one line)
        raise CaptureError(
            f"{checkpoint} cannot be loaded into the {kind.__name__} that {folder}/config.json describes: "
            f"{first_line(error)}"
        ) from error
    missing = sorted(name for name in found["missing_keys"] if not name.endswith("num_batches_tracked"))
    if missing:
        raise CaptureError(
            f"{checkpoint} does not fill the {kind.__name__} that {folder}/config.json describes: {len(missing)} "
            f"tensors are missing ({', '.join(missing[:3])}{', ...' if len(missing) > 3 else ''}); name the file "
            f"that belongs to it, or {RANDOM!r} for none"
        )
    return model


def _processor(folder: Path, config: PretrainedConfig, size: Optional[Size]) -> tuple[BaseImageProcessor, List[str]]:
    from transformers.models.auto.image_processing_auto import IMAGE_PROCESSOR_MAPPING
