"""At which stage an object was lost: every rule by candidates that are made for it, and a thousand made misses."""

import numpy as np
import pytest

from featscope.analysis import stages
from featscope.analysis.stages import Head
from featscope.arrays.candidates import ImageCandidates, LevelCandidates
from featscope.arrays.selecting import select
from featscope.records import Boxes, Geometry, Selection

CLASSES = 3
SIZE = 256
SCORE = 0.3
"""The operating point; the detector's own threshold is 0.05."""

HOW = Selection(threshold=0.05, per_level=50, suppression="rotated", overlap=0.3, maximum=20)


class Picture:
    """Candidates of one image on a level of 32 x 32 cells, all of them background until something is put there."""

    def __init__(self, seed=0, how=HOW, classes=CLASSES):
        self.random = np.random.default_rng(seed)
        self.how = how
        rows, columns = np.divmod(np.arange(32 * 32), 32)
        size = self.random.uniform(6, 10, (32 * 32, 2))
        turn = self.random.uniform(-0.2, 0.2, 32 * 32)
        self.boxes = np.column_stack([columns * 8 + 4.0, rows * 8 + 4.0, size, turn])
        self.scores = self.random.uniform(0, 0.02, (32 * 32, classes)).astype(np.float32)
        self.free = np.ones(32 * 32, bool)
        self.truth = []
        self.labels = []

    def cell_of(self, x, y):
        return int(y // 8) * 32 + int(x // 8)

    def object(self, x, y, width=40.0, height=20.0, angle=0.3, label=0):
        """Put an object, and keep all candidates around it from being about it."""
        self.truth.append([x, y, width, height, angle])
        self.labels.append(label)
        return len(self.truth) - 1

    def candidate(self, number, score, iou=0.9, label=None, offset=(0, 0)):
        """Put a candidate of about this overlap with an object at a cell near its centre."""
        x, y, width, height, angle = self.truth[number]
        cell = self.cell_of(x + 8 * offset[0], y + 8 * offset[1])
        self.boxes[cell] = [x, y, width * iou, height, angle]  # a shorter box of the same centre has this IoU
        self.scores[cell, self.labels[number] if label is None else label] = score
        self.free[cell] = False
        return cell

    def box(self, x, y, width, height, angle, score, label):
        """Put a candidate that is about nothing in particular."""
        cell = int(np.flatnonzero(self.free)[-1])
        self.free[cell] = False
        self.boxes[cell] = [x, y, width, height, angle]
        self.scores[cell, label] = score
        return cell

    def loss(self, number=0, score=SCORE, iou=0.5, priors=True):
        level = LevelCandidates(self.scores, self.boxes, "cell", (32, 32, 1))
        candidates = ImageCandidates((level,), "cxcywha", self.how)
        truth = Boxes("cxcywha", self.truth, self.labels)
        geometry = Geometry((SIZE, SIZE), (SIZE, SIZE), (SIZE, SIZE)) if priors else None
        return Head(candidates, select(candidates), truth, geometry).losses([number], score, iou)[0]


def _nothing_could(picture, number):
    picture.truth[number] = [102.0, 102.0, 3.0, 3.0, 0.0]  # between the corners and the middles of the cells


def _no_box(picture, number):
    pass


def _badly_boxed(picture, number):
    picture.candidate(number, 0.6, iou=0.3)


def _background(picture, number):
    picture.candidate(number, 0.001)


def _low_score(picture, number):
    picture.candidate(number, 0.2)


def _other_class(picture, number):
    picture.candidate(number, 0.7, label=(picture.labels[number] + 1) % CLASSES)


def _cut(picture, number):
    picture.candidate(number, 0.4)
    for place in range(50):
        picture.box(200 + place, 20, 4, 4, 0, 0.9, picture.labels[number])


def _suppressed(picture, number):
    picture.candidate(number, 0.5)
    x, y, width, height, angle = picture.truth[number]
    picture.box(x, y, width * 0.45, height, angle, 0.53, picture.labels[number])


def _over(picture, number):
    picture.candidate(number, 0.4)
    for place in range(20):
        picture.box(10 + 11 * place, 240, 4, 4, 0, 0.9, picture.labels[number])


def _below(picture, number):
    picture.candidate(number, 0.045)


def _taken(picture, number):
    picture.candidate(number, 0.5)


CAUSES = {
    stages.NOTHING_COULD: _nothing_could,
    stages.NO_BOX: _no_box,
    stages.BADLY_BOXED: _badly_boxed,
    stages.BACKGROUND: _background,
    stages.LOW_SCORE: _low_score,
    stages.OTHER_CLASS: _other_class,
    stages.CUT: _cut,
    stages.SUPPRESSED: _suppressed,
    stages.OVER: _over,
    stages.TAKEN: _taken,
}


def test_a_thousand_misses_of_known_cause():
    right = dict.fromkeys(CAUSES, 0)
    for seed in range(100):
        for cause, make in CAUSES.items():
            picture = Picture(seed)
            random = picture.random
            number = picture.object(
                *random.uniform(60, 160, 2), random.uniform(36, 60), random.uniform(16, 30), random.uniform(-1.5, 1.5),
                label=int(random.integers(CLASSES)),
            )  # fmt: skip
            make(picture, number)
            right[cause] += picture.loss(number).stage == cause
    assert {cause: count for cause, count in right.items() if count < 95} == {}


def test_below_the_threshold_of_the_detector():
    picture = Picture()
    number = picture.object(100, 100)
    _below(picture, number)
    assert picture.loss(number, score=0.04).stage == stages.BELOW


class TestFurthest:
    def test_the_furthest_decides_not_the_best_box(self):
        picture = Picture()
        number = picture.object(100, 100)
        picture.candidate(number, 0.5, iou=0.95)
        picture.candidate(number, 0.52, iou=0.6, offset=(1, 0))  # kept, and suppresses the better box
        loss = picture.loss(number)
        assert loss.stage == stages.TAKEN
        assert loss.stages == ((stages.SUPPRESSED, 1), (stages.TAKEN, 1))
        assert (loss.reaching, loss.passing) == (2, 2)
        assert loss.iou == pytest.approx(0.6, abs=0.01)

    def test_a_lower_score_may_come_further(self):
        picture = Picture()
        number = picture.object(100, 100)
        picture.candidate(number, 0.5, iou=0.9)
        picture.box(82.8, 94.7, 40, 20, 0.3, 0.55, 0)  # suppresses the first, and not the second
        x, y, width, height, angle = picture.truth[number]
        picture.box(x + 5.7, y + 1.8, width * 0.7, height, angle, 0.4, 0)
        assert picture.loss(number).stages == ((stages.SUPPRESSED, 1), (stages.TAKEN, 1))
        assert picture.loss(number).stage == stages.TAKEN

    @pytest.mark.parametrize(
        ("what", "where"),
        [
            (stages.WORSE_BOX, (100, 100, 18, 20, 0.3)),
            (stages.NEIGHBOUR, (112, 118, 40, 20, 0.3)),
            (stages.FALSE_ALARM, (100, 100, 400, 20, 0.3)),
        ],
    )
    def test_who_suppressed_it(self, what, where):
        picture = Picture(how=Selection(threshold=0.05, suppression="rotated", overlap=0.04))
        number = picture.object(100, 100)
        picture.object(112, 120)
        picture.candidate(number, 0.5)
        picture.box(*where, 0.55, 0)
        loss = picture.loss(number)
        assert loss.stage == stages.SUPPRESSED
        assert loss.suppressor.what == what
        assert loss.suppressor.score == pytest.approx(0.55)
        assert loss.suppressor.box == pytest.approx(where)
        assert loss.deciding.box[:2] == (100, 100)

    def test_the_class_of_what_suppressed_it(self):
        picture = Picture(how=Selection(threshold=0.05, suppression="rotated", overlap=0.04, by_class=False))
        number = picture.object(100, 100, label=0)
        picture.candidate(number, 0.5)
        picture.box(100, 100, 18, 20, 0.3, 0.55, label=2)
        loss = picture.loss(number)
        assert (loss.suppressor.label, loss.deciding.label) == (2, 0)

    def test_a_class_that_is_not_the_best_of_its_cell(self):
        """Where the head takes the best class first, the others are no candidates."""
        picture = Picture(how=Selection(labels="best", threshold=0.05))
        number = picture.object(100, 100)
        cell = picture.candidate(number, 0.5)
        picture.scores[cell, 1] = 0.6
        loss = picture.loss(number)
        assert (loss.stage, loss.deciding.label) == (stages.OTHER_CLASS, 1)
        picture.scores[cell, 1] = 0.4
        assert picture.loss(number).stage == stages.TAKEN


class TestScores:
    def test_the_threshold_belongs_to_those_that_pass(self):
        picture = Picture()
        number = picture.object(100, 100)
        picture.candidate(number, 0.5)
        assert picture.loss(number, score=0.5).stage == stages.TAKEN
        assert picture.loss(number, score=0.5000001).stage == stages.LOW_SCORE

    def test_background_does_not_depend_on_the_threshold(self):
        picture = Picture()
        number = picture.object(100, 100)
        picture.candidate(number, 0.0199)  # as high as the highest of the background
        assert {picture.loss(number, score).stage for score in (0.1, 0.3, 0.9)} == {stages.LOW_SCORE}
        picture.scores[picture.cell_of(100, 100), 0] = 0.01
        assert {picture.loss(number, score).stage for score in (0.1, 0.3, 0.9)} == {stages.BACKGROUND}

    def test_candidates_on_objects_are_no_background(self):
        picture = Picture()
        number = picture.object(60, 60)
        picture.object(180, 180, 100, 100, 0.0)
        for row in range(18, 27):
            picture.scores[row * 32 + 18 : row * 32 + 27, 0] = 0.5
        picture.candidate(number, 0.1)
        assert picture.loss(number, score=0.6).stage == stages.LOW_SCORE

    def test_levels(self):
        picture = Picture()
        number = picture.object(100, 100)
        picture.candidate(number, 0.2, iou=0.8)
        (level,) = picture.loss(number).levels
        assert (level.level, round(level.iou, 2), round(level.score, 2)) == (0, 0.8, 0.2)


def test_a_box_for_each_class():
    """As two-stage heads give them: the box of another class reaches the object, that of its own does not."""
    boxes = np.tile([0.0, 0.0, 4.0, 4.0], (2, CLASSES, 1))
    boxes[0, 1] = [100, 100, 140, 120]
    scores = np.full((2, CLASSES), 0.01, np.float32)
    scores[0, 1] = 0.8
    level = LevelCandidates(scores, boxes, "roi")
    candidates = ImageCandidates((level,), "xyxy", Selection(threshold=0.05, suppression="upright", overlap=0.5))
    truth = Boxes("xyxy", [[100, 100, 140, 121]], [0])
    loss = Head(candidates, select(candidates), truth, None).losses([0], SCORE, 0.5)[0]
    assert (loss.stage, loss.deciding[:3]) == (stages.OTHER_CLASS, (0, 0, 1))
    assert loss.deciding.box == (100, 100, 140, 120)
    assert loss.deciding.score == pytest.approx(0.8)
    boxes[0, 1] = 0
    assert Head(candidates, select(candidates), truth, None).losses([0], SCORE, 0.5)[0].stage == stages.NO_BOX


def test_many_objects_at_once_are_as_one_by_one():
    picture = Picture()
    for place in range(200):
        number = picture.object(20 + 16 * (place % 14), 20 + 16 * (place // 14), 20, 10, 0.1, label=place % CLASSES)
        if place % 3:
            picture.candidate(number, 0.1 + 0.002 * place)
    level = LevelCandidates(picture.scores, picture.boxes, "cell", (32, 32, 1))
    candidates = ImageCandidates((level,), "cxcywha", HOW)
    truth = Boxes("cxcywha", picture.truth, picture.labels)
    head = Head(candidates, select(candidates), truth, None)
    together = head.losses(range(200), SCORE, 0.5)
    assert [one.stage for one in together] == [head.losses([n], SCORE, 0.5)[0].stage for n in range(200)]
    assert len({one.stage for one in together}) > 2


def test_a_class_that_the_detector_lacks():
    picture = Picture()
    number = picture.object(100, 100, label=CLASSES)
    assert picture.loss(number).stage == stages.NO_CLASS


@pytest.mark.parametrize("box", [[1e7, 1e7, 30, 30, 0.1], [128, 128, 1e9, 1e9, 0.0], [-500, 100, 30, 30, 0.0]])
def test_objects_outside_of_the_picture_and_huge_ones(box):
    """The points of the priors are those on the input, however large the box is."""
    picture = Picture()
    picture.truth.append(box)
    picture.labels.append(0)
    assert picture.loss(0).stage == (stages.NO_BOX if box[0] == 128 else stages.NOTHING_COULD)
