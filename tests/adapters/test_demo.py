"""The built-in detector as an adapter."""

from adapters.contract import DetectorContract

from featscope.adapters.opening import open_detector


class TestDemo(DetectorContract):
    layers = ("backbone", "neck", "bbox_head_refine")

    @staticmethod
    def open():
        return open_detector("demo", score_threshold=0.05)

    def logit_place(self, detector, source, label, image):
        head = detector.model.bbox_head_refine[0].retina_cls
        return head, source.level, (image, label, source.row, source.column)
