"""Capture of single layers, against the other ways to get them: same model, same input, same disk."""

from __future__ import annotations

import os
import shutil
import statistics
import time
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List

import numpy as np
import torch

import featscope
from benchmarks.measure import Row

LAYERS = ["layer1.2", "layer2.3", "layer3.5", "layer4.2"]  # the last block of each stage: some peers skip containers
FORWARDS = 10
ROUNDS = 5


def rows(folder: Path) -> Iterator[Row]:
    """ResNet-50's stages at 512 x 512; on a GPU too where one is at hand."""
    from torchvision.models import resnet50

    torch.manual_seed(0)
    model = resnet50(weights=None).eval()
    images = torch.randn(1, 3, 512, 512)
    with torch.no_grad():
        yield from _rows(model, images, folder, "CPU")
        if torch.cuda.is_available():
            yield from _rows(model.cuda(), images.cuda(), folder, "GPU")


def _rows(model: torch.nn.Module, images: torch.Tensor, folder: Path, device: str) -> Iterator[Row]:
    target = folder / "hooked"

    def forwards() -> None:
        for _ in range(FORWARDS):
            model(images)
        if device == "GPU":
            torch.cuda.synchronize()

    def ours(**policy: Any) -> Callable[[], None]:
        def call() -> None:
            with featscope.capture(model, LAYERS, to=target, policy=policy):
                forwards()

        return call

    def saved_in_the_hook() -> None:
        target.mkdir()
        handles = []
        for layer in LAYERS:

            def save(_module: Any, _inputs: Any, output: torch.Tensor, layer: str = layer) -> None:
                np.save(target / f"{layer}_{len(list(target.iterdir()))}.npy", output.cpu().numpy())

            handles.append(model.get_submodule(layer).register_forward_hook(save))
        forwards()
        for handle in handles:
            handle.remove()

    sizes: Dict[str, int] = {}
    sides: Dict[str, Callable[[], object]] = {
        "bare": forwards,
        "fp32": ours(),
        "fp16": ours(dtype="float16"),
        "uint8": ours(dtype="uint8"),
        "mean": ours(reduce="mean"),
        "np.save": saved_in_the_hook,
        "write()": lambda: _write(target, sizes["fp32"] * FORWARDS),
    }
    if device == "GPU":
        sides["PCIe"] = lambda: _over_the_bus(sizes["fp32"] * FORWARDS)
    sides.update(_peers(model, images, target, forwards, device))
    times: Dict[str, List[float]] = {name: [] for name in sides}
    for number in range(ROUNDS):
        for name, call in sides.items():
            start = time.perf_counter()
            call()
            times[name].append((time.perf_counter() - start) / FORWARDS)
            sizes[name] = sum(p.stat().st_size for p in target.rglob("*") if p.is_file()) // FORWARDS
            # Kept until the end: on a virtual machine, memory that one core freed is slow to fill from another,
            # which would punish whoever writes beside the forward, and no real run deletes what it wrote.
            if target.exists():
                target.rename(folder / f"kept_{name}_{number}")
            os.sync()
    for kept in folder.glob("kept_*"):
        shutil.rmtree(kept)
    took = {name: statistics.median(values) for name, values in times.items()}
    size, bare = sizes["fp32"], took["bare"]
    for name in ("np.save", "activationscope"):
        assert sizes.get(name, size) >= 0.99 * size, f"{name} did not store the same"
    for name, most in (("fp32", 0.25), ("fp16", 0.25), ("uint8", 0.6), ("mean", 0.15)):
        extra = took[name] / bare - 1
        work = (
            f"{device}: capture of ResNet-50's stages ({size / 1e6:.0f} MB an image), {name}, against the bare forward"
        )
        yield Row(work, _ms(took[name]), _ms(bare), f"+{extra:.0%}", f"+{most:.0%}", extra <= most)
    # No capture can be faster than the slowest thing it needs: the forward, the disk, the bus.
    needs = {name: took[name] for name in ("bare", "write()", "PCIe") if name in took}
    slowest = max(needs, key=lambda name: needs[name])
    yield Row(
        f"{device}: the same in fp32, against its limit, the slowest of "
        + ", ".join(f"{name} {_ms(seconds)}" for name, seconds in needs.items()),
        _ms(took["fp32"]),
        _ms(needs[slowest]),
        f"{took['fp32'] / needs[slowest]:.2f} x the limit",
        "1.5 x",
        took["fp32"] <= 1.5 * needs[slowest],
    )
    for name, least in (("np.save", 1.0), ("torchlens", 2.0), ("activationscope", 1.0)):
        if name in took:
            # What capture adds; what is lost in the noise of the forward counts as a hundredth of it.
            ratio = max(took[name] - bare, bare / 100) / max(took["fp32"] - bare, bare / 100)
            kept = " (memory only)" if name == "torchlens" else ""
            work = f"{device}: the same in fp32, what it adds, against {name}{kept}"
            ours_text = f"{_ms(took['fp32'])}, +{(took['fp32'] - bare) * 1e3:.0f} ms"
            peer_text = f"{_ms(took[name])}, +{(took[name] - bare) * 1e3:.0f} ms"
            yield Row(work, ours_text, peer_text, f"{ratio:.1f} x", f"{least:g} x", ratio >= least)


def _write(target: Path, size: int) -> None:
    target.mkdir()
    data = bytes(1 << 20)
    with open(target / "plain", "wb", buffering=0) as file:
        for _ in range(size >> 20):
            file.write(data)


def _over_the_bus(size: int) -> None:
    source = torch.empty(size, dtype=torch.uint8, device="cuda")
    torch.empty(size, dtype=torch.uint8, pin_memory=True).copy_(source)
    torch.cuda.synchronize()


def _peers(
    model: torch.nn.Module, images: torch.Tensor, target: Path, forwards: Callable[[], None], device: str
) -> Dict[str, Callable[[], object]]:
    """Other packages that capture, where they are installed."""
    found: Dict[str, Callable[[], object]] = {}
    try:
        import activationscope as scope
    except ImportError:
        pass
    else:
        keep: List[Any] = []

        def to_disk() -> None:
            keep.clear()
            target.mkdir()
            tracker = scope.ActivationScope(
                storage=scope.StoragePolicy.DISK, session_dir=str(target), capture_mode=scope.CaptureMode.SNAPSHOT
            )
            with tracker.track(model, layers=LAYERS):
                forwards()
            keep.append(tracker)  # it takes its files with it when it goes

        found["activationscope"] = to_disk
    try:
        import torchlens
    except ImportError:
        pass
    else:

        def extract() -> None:
            for _ in range(FORWARDS):
                torchlens.extract(model, images, LAYERS)

        found["torchlens"] = extract
    return found


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:.0f} ms"
