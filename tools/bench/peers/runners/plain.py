"""One script as people write it, after the families' own demos: read, preprocess, run, decode, one after the other.

Nothing of the product's is used but the job. It is written with care, as a good tutorial is: vectorised, grids made
once, OpenCV's NMS. ``threads`` 0 leaves ONNX Runtime as it comes, which is how tutorials leave it.
"""

from __future__ import annotations

import os

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # read when ONNX Runtime is imported: keep it above the imports

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import onnxruntime

from tools.bench.peers.job import Answer, Job, paced, rows_of, serve

STRIDES = (8, 16, 32)


class Yolox:
    """YOLOX: letterbox to the top left, pad 114, no scaling; objectness times class."""

    def __init__(self, width: int, height: int) -> None:
        self.size = (width, height)
        grids, strides = [], []
        for stride in STRIDES:
            xs, ys = np.meshgrid(np.arange(width // stride), np.arange(height // stride))
            grids.append(np.stack((xs, ys), axis=2).reshape(-1, 2))
            strides.append(np.full((xs.size, 1), stride))
        self.grid = np.concatenate(grids).astype(np.float32)
        self.stride = np.concatenate(strides).astype(np.float32)

    def prepare(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the tensor, and what boxes must be divided by."""
        width, height = self.size
        ratio = min(height / image.shape[0], width / image.shape[1])
        resized = cv2.resize(image, (round(image.shape[1] * ratio), round(image.shape[0] * ratio)))
        padded = np.full((height, width, 3), 114, np.uint8)
        padded[: resized.shape[0], : resized.shape[1]] = resized
        tensor = np.ascontiguousarray(padded.transpose(2, 0, 1), dtype=np.float32)[None]
        return tensor, np.array([ratio, ratio, ratio, ratio], np.float32)

    def read(self, outputs: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Return all boxes, xyxy in the tensor's pixels, and the scores of their classes."""
        predictions = outputs[0][0]
        centres = (predictions[:, :2] + self.grid) * self.stride
        sizes = np.exp(predictions[:, 2:4]) * self.stride
        boxes = np.concatenate((centres - sizes / 2, centres + sizes / 2), axis=1)
        return boxes, predictions[:, 4:5] * predictions[:, 5:]


class Nanodet:
    """NanoDet: stretched, normalised; a distribution for each side of a box."""

    def __init__(self, width: int, height: int, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        self.size = (width, height)
        self.mean, self.std = np.array(mean, np.float32), np.array(std, np.float32)
        self.centres = {}
        for stride in STRIDES:
            xs, ys = np.meshgrid(np.arange(width // stride) + 0.5, np.arange(height // stride) + 0.5)
            self.centres[stride] = np.stack((xs, ys), axis=2).reshape(-1, 2).astype(np.float32) * stride

    def prepare(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the tensor, and what boxes must be divided by."""
        width, height = self.size
        resized = cv2.resize(image, self.size).astype(np.float32)
        tensor = np.ascontiguousarray(((resized - self.mean) / self.std).transpose(2, 0, 1))[None]
        x, y = width / image.shape[1], height / image.shape[0]
        return tensor, np.array([x, y, x, y], np.float32)

    def read(self, outputs: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Return all boxes, xyxy in the tensor's pixels, and the scores of their classes."""
        boxes, scores = [], []
        for stride in STRIDES:
            centres = self.centres[stride]
            level = [output[0] for output in outputs if output.shape[1] == len(centres)]
            sides = next(one for one in level if one.shape[1] != 80).reshape(len(centres), 4, -1)
            exps = np.exp(sides - sides.max(axis=2, keepdims=True))
            far = (exps / exps.sum(axis=2, keepdims=True)) @ np.arange(sides.shape[2], dtype=np.float32) * stride
            boxes.append(np.concatenate((centres - far[:, :2], centres + far[:, 2:]), axis=1))
            scores.append(next(one for one in level if one.shape[1] == 80))
        limits = np.array([*self.size, *self.size], np.float32)
        return np.clip(np.concatenate(boxes), 0, limits), np.concatenate(scores)


def detections(boxes: np.ndarray, scores: np.ndarray, job: Job) -> np.ndarray:
    """Keep what scores enough, then the best of what overlaps, class by class."""
    classes = scores.argmax(axis=1)
    best = scores[np.arange(len(scores)), classes]
    keep = best >= job.floor
    boxes, best, classes = boxes[keep], best[keep], classes[keep]
    found = []
    for one in np.unique(classes):
        mine = np.flatnonzero(classes == one)
        corner = np.concatenate((boxes[mine, :2], boxes[mine, 2:] - boxes[mine, :2]), axis=1)
        picked = cv2.dnn.NMSBoxes(corner.tolist(), best[mine].tolist(), job.floor, job.spec.nms_iou)
        found.append(mine[np.asarray(picked, int).ravel()])
    order = np.concatenate(found) if found else np.zeros(0, int)
    order = order[np.argsort(-best[order])][: job.spec.max_detections]
    return np.concatenate((boxes[order], best[order, None], classes[order, None]), axis=1)


def looker(job: Job) -> Callable[[np.ndarray], np.ndarray]:
    """Return the script's middle: a frame in, rows out."""
    options = onnxruntime.SessionOptions()
    if job.threads:
        options.intra_op_num_threads = job.threads
    session = onnxruntime.InferenceSession(job.files["onnx"], options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    image = job.spec.input
    family: Any = (
        Yolox(image.width, image.height)
        if job.spec.decoder.kind == "yolox"
        else Nanodet(image.width, image.height, image.mean, image.std)
    )

    def look(frame: np.ndarray) -> np.ndarray:
        tensor, ratio = family.prepare(frame)
        boxes, scores = family.read(session.run(None, {name: tensor}))
        rows = detections(boxes, scores, job)
        rows[:, :4] /= ratio
        rows[:, 0:4:2] = rows[:, 0:4:2].clip(0, frame.shape[1])
        rows[:, 1:4:2] = rows[:, 1:4:2].clip(0, frame.shape[0])
        return rows

    return look


def run(job: Job) -> Answer:
    """Be the script."""
    look, video = looker(job), cv2.VideoCapture(job.film)

    def step() -> np.ndarray:
        ok, frame = video.read()
        if not ok:
            video.set(cv2.CAP_PROP_POS_FRAMES, 0)
            _, frame = video.read()
        return look(frame)

    if job.mode == "detect":
        return Answer(rows=tuple(rows_of(step()) for _ in range(job.frames)))
    return paced(step, job)


if __name__ == "__main__":
    serve(run)
