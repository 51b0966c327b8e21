"""`featscope.capture`: check what a user requests and build the capture, before any file is written."""

from __future__ import annotations

from pathlib import Path
from typing import Mapping, Optional, Sequence, Union

import msgspec
from torch import nn

from featscope.capturing.batches import Batches
from featscope.capturing.folders import FolderNames
from featscope.capturing.given import GivenReadings
from featscope.capturing.handover import Handover
from featscope.capturing.inputs import Companion, PlainImages
from featscope.capturing.layers import count_parameters, select, unwrap
from featscope.capturing.ledger import Ledger
from featscope.capturing.listener import LayerInput, Listener
from featscope.capturing.memory import MemorySink
from featscope.capturing.policy import make_policy
from featscope.capturing.proof import Proof
from featscope.capturing.ranks import rank_and_world_size
from featscope.capturing.remarks import Remarks, check_on_error
from featscope.capturing.session import Capture
from featscope.capturing.speakers import Speakers
from featscope.records import Policy, RunInfo, Sink
from featscope.store.object_writer import writer_of
from featscope.store.writer import RunWriter


def capture(
    model: nn.Module,
    layers: Optional[Sequence[str]] = None,
    to: Union[str, Path, Sink, None] = None,
    names: Optional[Mapping[str, str]] = None,
    policy: Union[Policy, Mapping[str, object], None] = None,
    resume: bool = False,
    on_error: str = "raise",
    dataset_size: Optional[int] = None,
    info: Optional[RunInfo] = None,
    rank: Optional[int] = None,
    world_size: Optional[int] = None,
    companion: Optional[Companion] = None,
    inputs: Sequence[LayerInput] = (),
    axes: Optional[Mapping[str, str]] = None,
) -> Capture:
    """Capture the outputs of a model's layers while a block runs.

    >>> with capture(model, ["backbone", "neck", "bbox_head_*"], to="runs/mine"):  # doctest: +SKIP
    ...     for image in images:
    ...         model(image)

    layers: names and globs (`featscope layers` lists the layers). '!name' excludes a layer, '' is the model's own
    output. None captures every top-level part.

    to: a folder for a new run, or a `Sink`. None keeps the maps in memory.

    names: layer -> the name of its folder, in place of `<layer>.<class>`.

    policy: how much is stored, as a `Policy` or a dict of its fields: {'dtype': 'float16', 'every': 10}.

    resume: continue the run in `to` if there is one. Run the same loop from its start; batches that are already stored
    are not stored again.

    on_error: 'raise'; 'warn' to let the model continue if the capture fails; or 'disk' to do the same except for errors
    of the disk.

    dataset_size: number of samples in the data set over all ranks. If it is given, the run is refused if it would not
    fit on the disk, and samples that a distributed sampler repeats are left out.

    rank, world_size: by default those of torch.distributed or torchrun.

    companion: tells what is known about the images; by default images are numbered.

    inputs: inputs of layers that are stored in addition to the outputs.

    axes: the axes of tensors that cannot be followed from the image, by glob of layers: {'layers.*': 'NHWC',
    'blocks.*': '16x24+5'} (rows x columns, with five tokens before them). They are checked against the tensors.

    A batch is one outermost call of any method of the model (`model(x)`, `forward_features`, `validation_step`). If you
    call parts of the model one by one, mark the beginning and the end of the batch:

    >>> with capture(model) as session, session.batch(["harbour"]):                # doctest: +SKIP
    ...     model.neck(model.backbone(image))

    The model is never changed: copies and checkpoints made during a capture contain nothing of it. Code compiled by
    torch.compile is not used during a capture (torch 2.6 and newer). Raises `UnknownNameError` if the model does not
    have a layer, `CaptureError` if a requested layer did not run or gave nothing that can be stored, `BadRunError` if
    the folder holds another run, and `OutputError` if the run cannot be written.
    """
    check_on_error(on_error)
    layers = [layers] if isinstance(layers, str) else layers
    chosen = select(model, layers)
    inner = unwrap(model)
    folders = FolderNames(inner, [layer.name for layer in chosen], names or {})
    policy = make_policy(policy)
    if rank is None or world_size is None:
        rank, world_size = rank_and_world_size()
    # Build everything that may refuse the request before the first file is written.
    remarks = Remarks(on_error)
    proof = Proof(GivenReadings(axes))
    ledger = Ledger(policy, dataset_size, rank, world_size)
    speakers = Speakers(inner, chosen)
    sink: Sink
    if to is None:
        sink = MemorySink()
    elif isinstance(to, (str, Path)):
        info = msgspec.structs.replace(
            info or RunInfo(model=type(inner).__name__),
            parameters=count_parameters(inner),
            layers=[layer.name for layer in chosen],
            names=dict(names or {}),
            policy=policy,
            ranks=world_size,
        )
        sink = writer_of(to, info, rank, resume=resume)
    else:
        sink = to
    if isinstance(sink, RunWriter):
        ledger.stored = sink.stored
    companion = companion or PlainImages(pictures=isinstance(sink, RunWriter))
    handover = Handover(sink, folders, policy, ledger, remarks)
    batches = Batches(companion, ledger, handover, proof, remarks)
    listener = Listener(
        model,
        chosen,
        speakers=speakers,
        batches=batches,
        handover=handover,
        proof=proof,
        inputs=inputs,
        remarks=remarks,
    )
    asked = any(not pattern.startswith("!") for pattern in layers or ())
    return Capture(listener, batches, handover, companion, ledger, remarks=remarks, asked=asked)
