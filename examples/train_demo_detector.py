"""Train the detector of `featscope demo` on scenes that draw themselves, and save its weights.

    python examples/train_demo_detector.py --steps 3000 -o s2anet_mini.safetensors

About 50 minutes on two cores. `featscope demo --evaluate 200` prints what the weights of the package reach.
"""

import argparse
import math
import time
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from torch.nn import functional as F

from featscope.demo.detector import ANCHOR_SCALE, SIZE_LIMITS, STRIDES, S2ANetMini, cell_centres
from featscope.demo.scenes import CLASSES, draw_scene

CROP = 256
FIRST_TRAINING_SEED = 1_000_000  # far from the seeds of the demo and of its evaluation


def training_crop(scene, random):
    """A random scale, crop, flip and quarter turn of a scene: (3, CROP, CROP), boxes, labels."""
    scale = 0.8 * math.exp(random.uniform(-0.35, 0.35))
    height, width = scene.image.shape[:2]
    size = (round(width * scale), round(height * scale))
    image = np.asarray(Image.fromarray(scene.image).resize(size, Image.Resampling.BILINEAR), np.float32)
    left, top = (int(random.integers(0, max(1, s - CROP + 1))) for s in size)
    crop = np.zeros((CROP, CROP, 3), np.float32)
    part = image[top : top + CROP, left : left + CROP]
    crop[: part.shape[0], : part.shape[1]] = part
    boxes = scene.boxes.astype(np.float64) * [scale, scale, scale, scale, 1] - [left, top, 0, 0, 0]
    labels = scene.labels
    inside = ((boxes[:, :2] >= 0) & (boxes[:, :2] < [part.shape[1], part.shape[0]])).all(1)
    boxes, labels = boxes[inside], labels[inside]
    for _ in range(int(random.integers(4))):  # x, y -> CROP - y, x
        crop = np.rot90(crop, -1)
        boxes[:, :2] = np.stack([CROP - boxes[:, 1], boxes[:, 0]], 1)
        boxes[:, 4] += math.pi / 2
    if random.random() < 0.5:
        crop = crop[:, ::-1]
        boxes[:, 0] = CROP - boxes[:, 0]
        boxes[:, 4] *= -1
    crop = crop * random.uniform(0.8, 1.2) + random.uniform(-15, 15)
    return np.clip(crop, 0, 255).transpose(2, 0, 1).copy(), boxes, labels


def assign(boxes, labels, level, size):
    """For every cell of a level the index of its object, or -1: those near the object's centre."""
    owner = torch.full((size, size), -1, dtype=torch.long)
    root = (boxes[:, 2] * boxes[:, 3]).sqrt()
    mine = torch.bucketize(root, torch.tensor(SIZE_LIMITS, dtype=root.dtype)) == level
    stride = STRIDES[level]
    x, y = cell_centres(size, size, stride)
    for index in mine.nonzero().flatten().tolist():
        cx, cy, w, h, angle = boxes[index].tolist()
        dx, dy = x - cx, y - cy
        along = (dx * math.cos(angle) + dy * math.sin(angle)).abs()
        across = (dy * math.cos(angle) - dx * math.sin(angle)).abs()
        near = (along < 0.22 * w) & (across < 0.22 * h)
        near |= (dx.abs() <= stride / 2) & (dy.abs() <= stride / 2)
        owner[near] = index
    return owner


def focal_loss(logits, targets):
    """Sigmoid focal loss, summed (Lin et al., ICCV 2017)."""
    p = logits.sigmoid()
    hit = p * targets + (1 - p) * (1 - targets)
    alpha = 0.25 * targets + 0.75 * (1 - targets)
    loss = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    return (alpha * (1 - hit) ** 2 * loss).sum()


def losses(model, images, truths):
    """Classification and box losses of both heads."""
    feats = model.neck(model.backbone((images - 110.0) / 60.0))
    init_scores, init_deltas = model.bbox_head_init(feats)
    init_boxes = [box.detach() for box in model.bbox_head_init.boxes(init_deltas)]
    fine_scores, fine_deltas = model.bbox_head_refine[0](feats, init_boxes)
    total = {"init_cls": 0.0, "init_box": 0.0, "fine_cls": 0.0, "fine_box": 0.0}
    positives = 1
    for level, stride in enumerate(STRIDES):
        size = feats[level].shape[-1]
        owner = [assign(boxes, labels, level, size) for boxes, labels in truths]
        targets = torch.zeros(len(truths), len(CLASSES), size, size)
        wanted = torch.zeros(len(truths), 5, size, size)
        wanted[:, 2:4] = 1
        for n, (boxes, labels) in enumerate(truths):
            row, column = (owner[n] >= 0).nonzero(as_tuple=True)
            chosen = owner[n][row, column]
            targets[n, labels[chosen], row, column] = 1
            wanted[n, :, row, column] = boxes[chosen].T.float()
        at = torch.stack(owner) >= 0
        positives += int(at.sum())
        total["init_cls"] += focal_loss(init_scores[level], targets)
        total["fine_cls"] += focal_loss(fine_scores[level], targets)
        if not at.any():
            continue

        def pick(tensor, at=at):
            return tensor.permute(0, 2, 3, 1)[at]

        want, side = pick(wanted), ANCHOR_SCALE * stride
        centres = pick(cell_centres(size, size, stride).expand(len(truths), 2, size, size))
        goal = torch.cat(
            [
                (want[:, :2] - centres) / side,
                (want[:, 2:4] / side).log(),
                torch.stack([(2 * want[:, 4]).cos(), (2 * want[:, 4]).sin()], 1),
            ],
            1,
        )
        total["init_box"] += F.smooth_l1_loss(pick(init_deltas[level]), goal, reduction="sum", beta=0.11)
        box = pick(init_boxes[level])
        cos, sin = box[:, 4].cos(), box[:, 4].sin()
        dx, dy = (want[:, :2] - box[:, :2]).unbind(1)
        turn = (want[:, 4] - box[:, 4] + math.pi / 2) % math.pi - math.pi / 2
        goal = torch.stack(
            [
                (dx * cos + dy * sin) / box[:, 2],
                (dy * cos - dx * sin) / box[:, 3],
                (want[:, 2] / box[:, 2]).log(),
                (want[:, 3] / box[:, 3]).log(),
                turn,
            ],
            1,
        ).clamp(-2, 2)
        total["fine_box"] += F.smooth_l1_loss(pick(fine_deltas[level]), goal, reduction="sum", beta=0.11)
    return {name: value / positives for name, value in total.items()}


def save(model, path):
    """Store the weights in half precision: half the package, and no difference in what is found."""
    state = model.state_dict()
    save_file({k: v.half() if v.is_floating_point() else v for k, v in state.items()}, path)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--scenes", type=int, default=1200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--output", default="s2anet_mini.safetensors")
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    random = np.random.default_rng(options.seed)
    with ProcessPoolExecutor() as pool:
        seeds = range(FIRST_TRAINING_SEED, FIRST_TRAINING_SEED + options.scenes)
        scenes = list(pool.map(draw_scene, seeds, chunksize=16))
    print(f"{len(scenes)} scenes drawn", flush=True)
    model = S2ANetMini().train()
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=2e-3, total_steps=options.steps, pct_start=0.1)
    start = time.time()
    for step in range(1, options.steps + 1):
        crops = [training_crop(scenes[int(random.integers(len(scenes)))], random) for _ in range(options.batch)]
        images = torch.from_numpy(np.stack([image for image, _, _ in crops]))
        truths = [(torch.from_numpy(boxes), torch.from_numpy(labels)) for _, boxes, labels in crops]
        parts = losses(model, images, truths)
        optimiser.zero_grad()
        sum(parts.values()).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 10)
        optimiser.step()
        schedule.step()
        if step % 50 == 0:
            figures = "  ".join(f"{name} {float(value):.3f}" for name, value in parts.items())
            print(f"step {step}  {figures}  {(time.time() - start) / step:.2f} s a step", flush=True)
        if step % 250 == 0:
            save(model.eval(), options.output)
            model.train()


if __name__ == "__main__":
    main()
