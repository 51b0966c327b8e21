"""Places are followed through operators: against the gradient, which shows what a cell really looks at, and against
values that say themselves where they come from."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from featscope.arrays.readings import read
from featscope.capturing.following import Followed, Follower
from featscope.capturing.laying import maps_of

HEIGHT, WIDTH = 48, 40


def followed(function, image):
    """The output of a function of an image, and how it is read."""
    follower = Follower()
    follower.begin_at(image, 2, 3)
    with follower:
        output = function(image)
    return output, read(follower.trace(output))


def ones(channels_in=3, channels_out=2, kernel=(3, 3)):
    return torch.ones(channels_out, channels_in, *kernel)


WINDOWS = {
    "a convolution": lambda x: F.conv2d(x, ones(), padding=1),
    "with a stride": lambda x: F.conv2d(x, ones(), stride=2, padding=1),
    "without a border": lambda x: F.conv2d(x, ones(), stride=2),
    "of even size": lambda x: F.conv2d(x, ones(kernel=(4, 2)), stride=2, padding=1),
    "dilated": lambda x: F.conv2d(x, ones(), dilation=3, padding=2),
    "by name of its padding": lambda x: F.conv2d(x, ones(kernel=(3, 5)), padding="same"),
    "grouped": lambda x: F.conv2d(x, torch.ones(3, 1, 5, 5), groups=3, stride=(2, 1), padding=2),
    "two in a row": lambda x: F.conv2d(F.conv2d(x, ones(), stride=2), ones(2, kernel=(5, 5)), stride=3, padding=2),
    "transposed": lambda x: F.conv_transpose2d(x, torch.ones(3, 2, 4, 4), stride=2, padding=1),
    "transposed, without overlap": lambda x: F.conv_transpose2d(x, torch.ones(3, 2, 2, 2), stride=2),
    "an average": lambda x: F.avg_pool2d(x, 3, 2, 1),
    "a maximum's window": lambda x: F.avg_pool2d(x, (2, 4), ceil_mode=True),
    "to a given size": lambda x: F.adaptive_avg_pool2d(x, (6, 5)),
    "every other pixel": lambda x: F.conv2d(
        torch.cat([x[..., i::2, j::2] for j in (0, 1) for i in (0, 1)], 1), ones(12)
    ),
    "pixels as channels": lambda x: F.conv2d(F.pixel_unshuffle(x, 4), ones(48)),
    "channels as pixels": lambda x: F.pixel_shuffle(F.conv2d(x, ones(3, 8, (2, 2)), stride=2), 2),
    "larger": lambda x: F.interpolate(x, scale_factor=2.0, mode="bilinear"),
    "corner on corner": lambda x: F.interpolate(x, size=(95, 79), mode="bilinear", align_corners=True),
    "a border of its own": lambda x: F.conv2d(F.pad(x, (1, 2, 3, 0)), ones(), stride=2),
    "mirrored border": lambda x: F.conv2d(F.pad(x, (2, 2, 2, 2), mode="reflect"), ones(kernel=(5, 5))),
    "channels last": lambda x: F.linear(F.avg_pool2d(x, 4).permute(0, 2, 3, 1), torch.ones(7, 3)),
    "patches as tokens": lambda x: F.conv2d(x, ones(3, 6, (4, 4)), stride=4).flatten(2).transpose(1, 2),
    "patches by views": lambda x: F.linear(
        x.reshape(1, 3, HEIGHT // 4, 4, WIDTH // 4, 4).permute(0, 2, 4, 3, 5, 1).reshape(1, -1, 48), torch.ones(5, 48)
    ),
    "patches by unfold": lambda x: F.unfold(x, 4, stride=2).transpose(1, 2) @ torch.ones(48, 3),
    "in place": lambda x: F.conv2d(x, ones(), stride=2).mul_(2).add_(1),
}


@pytest.mark.parametrize("name", WINDOWS)
def test_a_cell_lies_in_the_middle_of_what_it_looks_at(name):
    image = torch.ones(1, 3, HEIGHT, WIDTH, requires_grad=True)
    output, reading = followed(WINDOWS[name], image)
    [(part, cells)] = maps_of(reading, output)
    assert part.axes == ("sample", "channel", "row", "column")
    rows, columns = cells.shape[2:]
    apart = []
    for n in range(4):  # inner cells: at the border a part of the window is cut off
        i, j = rows // 2 - 2 + n, columns // 2 - 2 + n
        [weights] = torch.autograd.grad(cells[0, :, i, j].sum(), image, retain_graph=True)
        weights = weights.sum((0, 1))
        row = float((weights.sum(1) * (torch.arange(HEIGHT) + 0.5)).sum() / weights.sum())
        column = float((weights.sum(0) * (torch.arange(WIDTH) + 0.5)).sum() / weights.sum())
        (y, x), (first_y, first_x) = part.place.stride, part.place.first
        apart.append((first_y + y * i - row, first_x + x * j - column))
    # Where a cell is made into several, these look at the same pixels, and are drawn side by side around them.
    spread = 0.51 if any(word in name for word in ("transposed", "channels as pixels")) else 0.01
    assert torch.tensor(apart).abs().max() <= spread
    assert torch.tensor(apart).mean(0).abs().max() <= 0.01
    assert part.place.known == "operators"


def windows(x, size=4):
    """(N, C, H, W) -> (N x windows, cells, C), as Swin does."""
    n, c, h, w = x.shape
    x = x.view(n, c, h // size, size, w // size, size).permute(0, 2, 4, 3, 5, 1)
    return x.reshape(-1, size * size, c)


def with_a_class(x):
    tokens = x.flatten(2).transpose(1, 2)
    return torch.cat([torch.zeros(1, 1, tokens.shape[2]).expand(len(tokens), -1, -1), tokens], 1) + 0


def into_a_new_tensor(x):
    whole = torch.zeros_like(x)
    whole[:, :, 1:] = x[:, :, 1:]
    whole[:, :, :1] = x[:, :, :1]
    return whole


MOVES = {
    "rows and columns": lambda x: x.transpose(2, 3),
    "channels last": lambda x: x.permute(0, 2, 3, 1).contiguous(),
    "the batch in the middle": lambda x: x.permute(2, 0, 3, 1),
    "tokens": lambda x: x.flatten(2).transpose(1, 2),
    "tokens first, as DETR has them": lambda x: x.flatten(2).permute(2, 0, 1),
    "columns before rows": lambda x: x.transpose(2, 3).flatten(2),
    "upside down": lambda x: x.flip(2),
    "turned": lambda x: torch.rot90(x, 1, (2, 3)),
    "windows in the batch": windows,
    "rolled windows": lambda x: windows(torch.roll(x, (-2, -1), (2, 3))),
    "the batch and the rows in one": lambda x: x.permute(0, 2, 3, 1).reshape(-1, x.shape[3], x.shape[1]),
    "any order": lambda x: x.flatten(2)[:, :, torch.randperm(96, generator=torch.Generator().manual_seed(0))],
    "gathered": lambda x: x.flatten(2).gather(2, torch.arange(95, -1, -1).expand(*x.shape[:2], -1)),
    "with a class token": with_a_class,
    "split and joined": lambda x: torch.cat(x.split([3, 5], 2)[::-1], 2),
    "stacked": lambda x: torch.stack(list(x.unbind(0)), 1),
    "in heads": lambda x: x.view(x.shape[0], 2, 3, *x.shape[2:]).permute(0, 1, 3, 4, 2),
    "written into another": into_a_new_tensor,
}


@pytest.mark.parametrize("samples", [1, 2])
@pytest.mark.parametrize("name", MOVES)
def test_every_value_is_put_at_its_own_place(name, samples):
    rows, columns = torch.arange(8.0).view(8, 1), torch.arange(12.0)
    sample = torch.arange(float(samples)).view(-1, 1, 1, 1)
    image = (10000 * sample + 100 * rows + columns).expand(samples, 6, -1, -1).clone()
    output, reading = followed(MOVES[name], image)
    assert reading.is_map, reading.why
    parts = {part.name: cells for part, cells in maps_of(reading, output)}
    assert torch.equal(parts[""], image)
    assert set(parts) - {""} == ({"prefix_tokens"} if "class" in name else set())


def test_levels_in_one_sequence_come_apart():
    def encoder(x):
        maps = [F.avg_pool2d(x, 4), F.avg_pool2d(x, 8)]
        return torch.cat([one.flatten(2).transpose(1, 2) for one in maps], 1)

    image = torch.rand(2, 3, HEIGHT, WIDTH)
    output, reading = followed(encoder, image)
    large, small = (cells for _, cells in maps_of(reading, output))
    assert torch.equal(large, F.avg_pool2d(image, 4))
    assert torch.equal(small, F.avg_pool2d(image, 8))
    assert [part.place.stride for part in reading.parts] == [(4.0, 4.0), (8.0, 8.0)]


def test_windows_keep_their_samples_beside_class_tokens_that_come_in_another_order():
    """RF-DETR repeats the class tokens sample by sample in turn, and the windows of a sample in a row."""

    def in_windows(x):
        classes = with_a_class(x)[:, :1]
        return torch.cat([classes.repeat(6, 1, 1), windows(x)], 1)

    image = torch.arange(2 * 3 * 8 * 12.0).view(2, 3, 8, 12)
    output, reading = followed(in_windows, image)
    assert torch.equal(maps_of(reading, output)[0][1], image)


def test_what_is_put_beside_a_sequence_lies_nowhere():
    """CoAt makes room for the class token by a border around the tokens of its attention."""

    def with_room(x):
        tokens = x.flatten(2).transpose(1, 2)
        return with_a_class(x) + F.pad(tokens, (0, 0, 1, 0))

    image = torch.rand(2, 3, 8, 12)
    output, reading = followed(with_room, image)
    parts = {part.name: cells for part, cells in maps_of(reading, output)}
    assert torch.equal(parts[""], 2 * image)
    assert set(parts) == {"", "prefix_tokens"}


def test_a_gate_that_was_pooled_to_another_size_moves_no_cell():
    """CSATv2 weighs 8 x 8 cells by a gate of 7 x 7, whose windows overlap: their middles are a whole cell apart."""

    def gated(x):
        cells = F.avg_pool2d(x, (6, 5))
        return cells * F.interpolate(F.adaptive_avg_pool2d(cells, 7), size=(8, 8), mode="bilinear")

    _, reading = followed(gated, torch.rand(1, 3, HEIGHT, WIDTH))
    assert reading.parts[0].place.stride == (6.0, 5.0)
    assert reading.parts[0].place.first == (3.0, 2.5)


def test_a_map_counts_more_than_one_that_was_resized_to_it():
    """Libra's pyramid adds a map that was pooled from 10 columns to 3 to one whose 3 columns lie 16 pixels apart."""

    def balanced(x):
        fine, coarse = F.avg_pool2d(x, 4), F.conv2d(x, ones(), stride=16, padding=1)
        return coarse + F.adaptive_max_pool2d(fine[:, :2], coarse.shape[2:])

    _, reading = followed(balanced, torch.rand(1, 3, HEIGHT, WIDTH))
    assert reading.parts[0].place.stride == (16.0, 16.0)
    assert reading.parts[0].place.first == (0.5, 0.5)


def test_attention_belongs_to_its_queries_and_shows_its_keys():
    def attention(x):
        tokens = F.avg_pool2d(x, 8).flatten(2).transpose(1, 2)
        weights = (tokens @ tokens.transpose(1, 2)).softmax(-1)
        return weights, weights @ tokens

    image = torch.rand(1, 3, HEIGHT, WIDTH)
    follower = Follower()
    follower.begin_at(image, 2, 3)
    with follower:
        weights, mixed = attention(image)
    [(_, seen)] = maps_of(read(follower.trace(weights)), weights)
    assert torch.equal(seen, weights.view(1, 30, 6, 5))  # a map for each query
    [(_, cells)] = maps_of(read(follower.trace(mixed)), mixed)
    assert torch.equal(cells, mixed.transpose(1, 2).view(1, 3, 6, 5))


def test_the_finer_map_says_where_a_cell_of_a_pyramid_lies():
    def pyramid(x):
        fine, coarse = F.conv2d(x, ones(), stride=2, padding=1), F.conv2d(x, ones(), stride=4, padding=1)
        return fine + F.interpolate(coarse, size=fine.shape[2:])

    _, reading = followed(pyramid, torch.rand(1, 3, HEIGHT, WIDTH))
    assert reading.parts[0].place.first == (0.5, 0.5)


class Queries(nn.Module):
    """As many queries as the map has cells."""

    def __init__(self):
        super().__init__()
        self.queries = nn.Parameter(torch.rand(1, 30, 3))

    def forward(self, x):
        memory = F.avg_pool2d(x, 8).flatten(2).transpose(1, 2)
        return (self.queries @ memory.transpose(1, 2)).softmax(-1) @ memory


NO_MAPS = {
    "queries": (lambda x: Queries()(x), "do not belong to places of the image"),
    "a gate": (lambda x: x.mean((2, 3), keepdim=True).sigmoid(), "do not belong to places of the image"),
    "rows only": (lambda x: x.mean(3), "whole rows or columns"),
    "classes": (
        lambda x: F.adaptive_avg_pool2d(x, 1).flatten(1) @ torch.ones(3, 30),
        "do not belong to places of the image",
    ),
    "frequencies": (lambda x: torch.fft.rfft2(x).real, "went through aten._fft_r2c, which featscope cannot follow"),
    "noise": (lambda x: torch.rand(1, 3, 6, 5), "featscope could not follow it back to the images"),
    "places far apart in one": (
        lambda x: F.avg_pool2d(x, 4).flatten(2).view(1, 3, 4, 30).amax(2),
        "or to places far apart",
    ),
    "mixed tokens": (
        lambda x: F.linear(x.flatten(2), torch.ones(30, HEIGHT * WIDTH)),
        "do not belong to places of the image",
    ),
}


@pytest.mark.parametrize("name", NO_MAPS)
def test_what_has_no_rows_and_columns_is_no_map_and_says_why(name):
    function, why = NO_MAPS[name]
    output, reading = followed(function, torch.rand(1, 3, HEIGHT, WIDTH))
    assert not reading.is_map
    assert why in reading.why
    [(part, same)] = maps_of(reading, output)
    assert same is output
    assert "row" not in part.axes


@pytest.mark.parametrize("guard", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_in_every_mode(guard):
    model = nn.Sequential(nn.Conv2d(3, 8, 4, 4), nn.Flatten(2), nn.Linear(120, 120)).eval()
    with guard():
        image = torch.rand(1, 3, HEIGHT, WIDTH)
        output, reading = followed(lambda x: model[1](model[0](x)).transpose(1, 2), image)
        assert reading.parts[0].form == (1, 8, 12, 10)
        encoder = nn.TransformerEncoderLayer(8, 2, 8, batch_first=True).eval()
        _, reading = followed(lambda x: encoder(model[0](x).flatten(2).transpose(1, 2)), image)
        assert reading.parts[0].form == (1, 8, 12, 10)


def test_a_rule_that_fails_ends_no_model(monkeypatch):
    from featscope.capturing import operations

    def broken(_operation):
        raise KeyError("a new argument")

    monkeypatch.setitem(operations._RULES, "convolution", broken)
    output, reading = followed(lambda x: F.conv2d(x, ones()), torch.rand(1, 3, HEIGHT, WIDTH))
    assert output.shape == (1, 2, 46, 38)
    assert "a new argument" in reading.why


def test_a_model_is_followed_from_its_first_images():
    model = nn.Sequential(nn.Conv2d(3, 4, 2, 2), nn.ReLU())
    followed_model = Followed(model)
    with torch.no_grad(), followed_model:
        output = model(torch.rand(1, 3, HEIGHT, WIDTH))
    assert followed_model.input_size == (HEIGHT, WIDTH)
    assert read(followed_model.follower.trace(output)).parts[0].place.stride == (2.0, 2.0)
