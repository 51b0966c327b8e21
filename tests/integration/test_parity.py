"""The same maps as grad-cam's: same model, same target, same layer."""

import numpy as np
import pytest
import torch

from featscope.adapters.opening import open_detector
from featscope.demo.scenes import draw_scene
from featscope.explaining.explainer import explain_item
from featscope.explaining.targets import Choice

PEERS = {
    "grad-cam": "GradCAM",
    "grad-cam++": "GradCAMPlusPlus",
    "hirescam": "HiResCAM",
    "layercam": "LayerCAM",
    "xgrad-cam": "XGradCAM",
    "eigen-cam": "EigenCAM",
}


@pytest.mark.parametrize("layer", ["backbone.layer3", "backbone.layer4"])
@pytest.mark.parametrize("method", PEERS)
def test_the_same_as_grad_cam(method, layer):
    peers = pytest.importorskip("pytorch_grad_cam")
    detector = open_detector("demo")
    item = detector.prepare(draw_scene(3).image[100:400, 100:420], "scene")
    (ours,) = explain_item(detector, item, layer, [method], Choice(top=1))
    source, label = ours.target.source, ours.target.label

    def logit(scores):
        return scores[source.level][0, label, source.row, source.column]

    module = detector.model.get_submodule(layer)
    inputs = torch.from_numpy(item.inputs.copy()).permute(2, 0, 1)[None].float()
    with getattr(peers, PEERS[method])(model=detector.model, target_layers=[module]) as peer:
        peer(inputs, [logit])
        seen = peer.activations_and_grads
        activation = seen.activations[0].numpy()
        gradient = seen.gradients[0].numpy() if seen.gradients else None
        theirs = peer.get_cam_image(inputs, module, [logit], activation, gradient, False)[0]
    if method == "eigen-cam":  # its sign is free: ours is that in which strong activation is bright
        energy = np.abs(activation[0]).mean(0)
        theirs = theirs * np.sign(np.sum(theirs * (energy - energy.mean())))
        theirs = theirs - theirs.min()
    theirs = np.maximum(theirs, 0)
    assert theirs.max() > 0
    assert np.abs(ours.heat - theirs).max() <= 1e-5 * theirs.max()
