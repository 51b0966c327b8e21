"""What a list of samples shows of each."""

import numpy as np

from featscope import open_run
from featscope.arrays.boxes import areas_of
from featscope.records import Boxes, RunInfo, Sample
from featscope.store.sample_rows import row_of
from featscope.store.writer import RunWriter

FOUND = Boxes("xyxy", [[0, 0, 8, 2], [0, 0, 50, 50]], [3, 1], [0.4, 0.9])
TRUTH = Boxes("cxcywha", [[9, 9, 6, 6, 0.3]], [2])


def test_a_row_counts_boxes_and_finds_the_smallest_object():
    row = row_of(Sample("a", predictions=FOUND, truth=TRUTH))
    assert row == ("a", 2, 1, 0.9, 6.0, [1, 2, 3], False)
    assert row_of(Sample("a", predictions=FOUND)).smallest == 4.0
    quad = Boxes("quad", [[0, 0, 4, 0, 4, 4, 0, 4]], [0])
    assert row_of(Sample("a", predictions=FOUND, truth=quad)).smallest == 4.0
    empty = Boxes("xyxy", [], [])
    assert row_of(Sample("a", predictions=empty, truth=empty)) == ("a", 0, 0, None, None, [], False)
    assert row_of(Sample("a", "a.png")) == ("a", None, None, None, None, [], True)


def test_a_run_lists_its_samples_in_the_order_of_their_lines(tmp_path):
    writer = RunWriter(tmp_path / "run", RunInfo(model="Toy"))
    for number, name in enumerate(("b", "a", "c")):
        writer.put_sample(Sample(name, batch=number, predictions=FOUND if name == "a" else None), None)
    writer.close()
    rows = open_run(tmp_path / "run").index.sample_rows()
    assert [row.name for row in rows] == ["b", "a", "c"]
    assert rows[1] == row_of(Sample("a", predictions=FOUND))
    assert np.isclose(rows[1].score, 0.9)


def test_the_smallest_object_is_that_of_all_areas():
    random = np.random.default_rng(0)
    for form, numbers in (("xyxy", 4), ("cxcywha", 5), ("quad", 8)):
        boxes = random.uniform(-50, 500, (200, numbers)).tolist()
        row = row_of(Sample("a", predictions=Boxes(form, boxes, [0] * 200)))
        assert row.smallest == round(float(np.sqrt(areas_of(form, boxes).min())), 2), form
    row = row_of(Sample("a", predictions=Boxes("xyxy", [[0, 0, 2, 2], [0, 0, np.nan, 2]], [0, 0])))
    assert np.isnan(row.smallest)
