import numpy as np
import pytest

from featscope.arrays.boxes import rotated_iou
from featscope.demo.scenes import CLASSES, draw_scene


def test_a_seed_is_a_scene():
    one, same, other = draw_scene(3), draw_scene(3), draw_scene(4)
    np.testing.assert_array_equal(one.image, same.image)
    np.testing.assert_array_equal(one.boxes, same.boxes)
    assert (one.image != other.image).any()


@pytest.mark.slow
def test_scenes_hold_all_classes_at_all_angles_without_overlap():
    scenes = [draw_scene(seed) for seed in range(12)]
    labels = np.concatenate([scene.labels for scene in scenes])
    angles = np.concatenate([scene.boxes[:, 4] for scene in scenes])
    assert set(labels) == set(range(len(CLASSES)))
    assert angles.min() >= -np.pi / 2
    assert angles.max() < np.pi / 2
    assert np.histogram(angles, 6, (-np.pi / 2, np.pi / 2))[0].min() > 0
    for scene in scenes:
        overlap = rotated_iou(scene.boxes, scene.boxes) - np.eye(len(scene.boxes))
        assert overlap.max(initial=0) < 0.1


def test_objects_differ_from_the_ground():
    scene = draw_scene(3)
    x, y = scene.boxes[scene.labels == 1][0][:2].astype(int)
    patch = scene.image[y - 3 : y + 3, x - 3 : x + 3].mean()
    assert abs(patch - np.median(scene.image)) > 30
