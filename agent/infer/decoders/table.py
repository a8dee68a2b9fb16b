"""The families that this agent can read. One row each; a manifest's ``decoder.kind`` is a key of it."""

from __future__ import annotations

from agent.infer.decoders.base import Decoder
from agent.infer.decoders.boxes_scores import decode_boxes_scores, expect_boxes_scores
from agent.infer.decoders.centerface import decode_centerface, expect_centerface
from agent.infer.decoders.classify import decode_classify, expect_classify
from agent.infer.decoders.detr import decode_detr, decode_rtdetr, expect_detr, expect_rtdetr
from agent.infer.decoders.nanodet import decode_nanodet, expect_nanodet
from agent.infer.decoders.nanodet_plus import decode_nanodet_plus, expect_nanodet_plus
from agent.infer.decoders.retinaface import decode_retinaface, expect_retinaface
from agent.infer.decoders.ssd import decode_ssd, expect_ssd
from agent.infer.decoders.yolo_end2end import decode_yolo_end2end, expect_yolo_end2end
from agent.infer.decoders.yolov5 import decode_yolov5, expect_yolov5
from agent.infer.decoders.yolov7 import decode_yolov7, expect_yolov7
from agent.infer.decoders.yolov8 import decode_yolov8, expect_yolov8
from agent.infer.decoders.yolox import decode_yolox, expect_yolox

DECODERS: dict[str, Decoder] = {
    "yolox": Decoder(decode_yolox, expect_yolox, "detect"),
    "yolov5": Decoder(decode_yolov5, expect_yolov5, "detect"),
    "yolov7": Decoder(decode_yolov7, expect_yolov7, "detect"),
    "yolov8": Decoder(decode_yolov8, expect_yolov8, "detect"),
    "yolo_end2end": Decoder(decode_yolo_end2end, expect_yolo_end2end, "detect", "none"),
    "nanodet": Decoder(decode_nanodet, expect_nanodet, "detect"),
    "nanodet_plus": Decoder(decode_nanodet_plus, expect_nanodet_plus, "detect"),
    "centerface": Decoder(decode_centerface, expect_centerface, "detect"),
    "retinaface": Decoder(decode_retinaface, expect_retinaface, "detect"),
    "ssd": Decoder(decode_ssd, expect_ssd, "detect", "none"),
    "boxes_scores": Decoder(decode_boxes_scores, expect_boxes_scores, "detect"),
    "detr": Decoder(decode_detr, expect_detr, "detect", "none"),
    "rtdetr": Decoder(decode_rtdetr, expect_rtdetr, "detect", "none"),
    "classify": Decoder(decode_classify, expect_classify, "classify"),
}
