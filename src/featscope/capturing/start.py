"""`featscope.capture`: from what a user asks for to a capture, all checked before any file is written."""

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

    layers: names and globs (`featscope layers` lists them), '!name' excludes, '' is the model's own output; None
    takes every top-level part. to: a folder for a new run, or a `Sink`; None keeps the maps in memory. names:
    puts another name in place of `<layer>.<class>` of a folder. policy: how much is stored, a `Policy` or its
    fields as a dict: {'dtype': 'float16', 'every': 10}. resume: go on with the run in `to`, if there is one; run
    the same loop from its start, and what is stored already is not stored again. on_error: 'raise', or 'warn' to
    let the model run on where the capture fails, or 'disk' to do so unless it is the disk that fails. dataset_size:
    samples of the data set over all ranks; with it the run is refused if the disk has no room for it, and what a
    distributed sampler repeats is left out. rank, world_size: by default those of torch.distributed or torchrun.
    companion: says what is known of the images; by default they are numbered. inputs: of layers, to be stored beside
    the outputs. axes: of tensors whose axes cannot be followed from the image, by glob: {'layers.*': 'NHWC',
    'blocks.*': '16x24+5'} (rows x columns, and five tokens before them); they are checked.

    A batch is one outermost call into the model, whichever method that is (`model(x)`, `forward_features`,
    `validation_step`); where parts of the model are called one by one, say where it begins and ends:

    >>> with capture(model) as session, session.batch(["harbour"]):                # doctest: +SKIP
    ...     model.neck(model.backbone(image))

    The model is never changed: a copy or a checkpoint that is made meanwhile is as without the capture. What
    torch.compile made of it rests meanwhile (torch 2.6 and newer). Raises `UnknownNameError` for a name the model
    does not have, `CaptureError` where a layer that was asked for did not run or gave nothing that can be stored,
    `BadRunError` where the folder holds another run, `OutputError` where nothing can be written.
    """
    check_on_error(on_error)
    layers = [layers] if isinstance(layers, str) else layers
    chosen = select(model, layers)
    inner = unwrap(model)
    folders = FolderNames(inner, [layer.name for layer in chosen], names or {})
    policy = make_policy(policy)
    if rank is None or world_size is None:
        rank, world_size = rank_and_world_size()
    # What cannot be watched, or means nothing, is refused before any file is written.
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
        sink = RunWriter(to, info, rank, resume=resume)
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
