"""Checkpoints: weights into a model, all of them, and nothing unpickled that is more than weights."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Dict, Mapping

import torch

from featscope.adapters.detector import RANDOM
from featscope.errors import BadOptionError, CaptureError, first_line

_PREFIXES = ("module.", "_orig_mod.")


def load_checkpoint(model: torch.nn.Module, path: str, trusted: bool = False) -> None:
    """Load a checkpoint's weights, all of them, or say what does not fit.

    Nothing is unpickled but tensors and plain values, unless the file is `trusted`.
    """
    if path == RANDOM:
        return
    weights = read_weights(path, trusted)
    # Not by the model's own attribute: a model may use PyTorch's names for something else.
    own = torch.nn.Module.state_dict(model)
    wrong = _does_not_fit(weights, own)
    if wrong:
        raise CaptureError(
            f"{path} does not fit the model: {wrong}; name the model or config that the checkpoint was trained with"
        )
    torch.nn.Module.load_state_dict(model, weights, strict=False)


def _does_not_fit(weights: Mapping[str, torch.Tensor], own: Mapping[str, torch.Tensor]) -> str:
    """What of a model's own tensors weights do not hold, or in another shape; '' for nothing."""
    missing = [name for name in own if name not in weights and not name.endswith("num_batches_tracked")]
    other = [name for name in own if name in weights and own[name].shape != weights[name].shape]
    if other:
        shapes = tuple(weights[other[0]].shape), tuple(own[other[0]].shape)
        example = f"{other[0]} is {shapes[0]} in the file, {shapes[1]} in the model"
    elif missing:
        example = f"the first that is missing: {missing[0]}"
    else:
        return ""
    counts = f"of {len(own)} tensors {len(missing)} are missing and {len(other)} have another shape"
    return f"{counts}; {example}"


def read_weights(path: str, trusted: bool = False) -> Dict[str, torch.Tensor]:
    """The tensors of a checkpoint by name: `.safetensors`, or what torch.save wrote."""
    if not Path(path).is_file():
        raise BadOptionError(f"the checkpoint {path} does not exist; name a file of weights, or {RANDOM!r} for none")
    content: object
    if path.endswith(".safetensors"):
        from safetensors.torch import load_file

        try:
            content = load_file(path)
        except Exception as error:  # noqa: BLE001 (a type that torch does not have is a KeyError, for one)
            raise CaptureError(f"{path} is no checkpoint: {first_line(error)}") from None
    else:
        content = read_torch_file(path, trusted)
    weights: Dict[str, torch.Tensor] = content.get("state_dict", content) if isinstance(content, dict) else {}
    inner: object = weights.get("model")  # torchvision's and DETR's training scripts
    if isinstance(inner, dict):
        weights = inner
    for prefix in _PREFIXES:
        weights = {name[len(prefix) :] if name.startswith(prefix) else name: value for name, value in weights.items()}
    return weights


def read_torch_file(path: str, trusted: bool = False) -> object:
    """What torch.save wrote; only tensors and plain values unless the file is `trusted`."""
    try:
        return torch.load(path, map_location="cpu", weights_only=not trusted)
    except pickle.UnpicklingError as error:
        reason = str(error).split("\n")[0][:160]
        raise CaptureError(
            f"{path} holds more than weights ({reason}); if you trust its source, add --trust-checkpoint"
        ) from None
    except ImportError:  # of a trusted file, which needs what it was written with
        raise
    except Exception as error:  # noqa: BLE001 (a damaged pickle fails in a dozen ways)
        raise CaptureError(f"{path} is no checkpoint: {first_line(error)}") from None
