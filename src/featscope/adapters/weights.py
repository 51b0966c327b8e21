"""Load checkpoints completely and safely: all weights must be there, and only weights are unpickled."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Dict, Mapping

import torch

from featscope.adapters.detector import RANDOM
from featscope.errors import BadOptionError, CaptureError, first_line

_PREFIXES = ("module.", "_orig_mod.")


def load_checkpoint(model: torch.nn.Module, path: str, trusted: bool = False) -> None:
    """Load all weights of a checkpoint into a model. Raises `CaptureError` if they do not fit.

    Only tensors and plain values are unpickled, unless the file is `trusted`.
    """
    if path == RANDOM:
        return
    weights = read_weights(path, trusted)
    # Do not use the model's attribute, because a model may use PyTorch's names for something else.
    own = torch.nn.Module.state_dict(model)
    wrong = _does_not_fit(weights, own)
    if wrong:
        raise CaptureError(
            f"{path} does not fit the model: {wrong}; name the model or config that the checkpoint was trained with"
        )
    torch.nn.Module.load_state_dict(model, weights, strict=False)


def _does_not_fit(weights: Mapping[str, torch.Tensor], own: Mapping[str, torch.Tensor]) -> str:
    """Describe which of a model's tensors are missing in the weights or have another shape; '' if all fit."""
    missing = [name for name in own if name not in weights and not name.endswith("num_batches_tracked")]
    other = [name for name in own if name in weights and own[name].shape != weights[name].shape]
    if other:
        shapes = tuple(weights[other[0]].shape), tuple(own[other[0]].shape)
        example = f"{other[0]} is {shapes[0]} in the file, {shapes[1]} in the model"
    elif missing:
        example = f"the first missing one is {missing[0]}"
    else:
        return ""
    counts = f"of {len(own)} tensors, {len(missing)} are missing and {len(other)} have a different shape"
    return f"{counts}; {example}"


def read_weights(path: str, trusted: bool = False) -> Dict[str, torch.Tensor]:
    """Return the tensors of a checkpoint by name, from a `.safetensors` file or a file written by torch.save."""
    if not Path(path).is_file():
        raise BadOptionError(
            f"the checkpoint {path} does not exist; give a file of weights, or {RANDOM!r} for random weights"
        )
    content: object
    if path.endswith(".safetensors"):
        from safetensors.torch import load_file

        try:
            content = load_file(path)
        except Exception as error:  # noqa: BLE001 (for example, an unknown type is a KeyError)
            raise CaptureError(f"{path} is not a checkpoint: {first_line(error)}") from None
    else:
        content = read_torch_file(path, trusted)
    weights: Dict[str, torch.Tensor] = content.get("state_dict", content) if isinstance(content, dict) else {}
    inner: object = weights.get("model")  # as written by the training scripts of torchvision and DETR
    if isinstance(inner, dict):
        weights = inner
    for prefix in _PREFIXES:
        weights = {name[len(prefix) :] if name.startswith(prefix) else name: value for name, value in weights.items()}
    return weights


def read_torch_file(path: str, trusted: bool = False) -> object:
    """Read a file written by torch.save; only tensors and plain values unless the file is `trusted`."""
    try:
        return torch.load(path, map_location="cpu", weights_only=not trusted)
    except pickle.UnpicklingError as error:
        reason = str(error).split("\n")[0][:160]
        raise CaptureError(
            f"{path} contains more than weights ({reason}); if you trust its source, add --trust-checkpoint"
        ) from None
    except ImportError:  # a trusted file may need the package that it was written with
        raise
    except Exception as error:  # noqa: BLE001 (a damaged pickle fails in a dozen ways)
        raise CaptureError(f"{path} is not a checkpoint: {first_line(error)}") from None
