"""DETR and RT-DETR of Hugging Face: small random configurations, and the image processors' own post-processing.

``post_process_object_detection`` of the installed ``transformers`` is called on the logits and boxes that the models
put out for real pictures, thinned and trimmed. Run by torch, not exported.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import SimpleNamespace

from tests.infer.references import making, recording  # first: it sets the environment

# isort: split
import numpy as np
import torch
import transformers

SIDE, CLASSES, SCORE = 320, 40, 0.3


def detr() -> torch.nn.Module:
    backbone = transformers.ResNetConfig(
        embedding_size=16, hidden_sizes=[16, 24, 32, 48], depths=[1, 1, 1, 1], layer_type="basic",
        out_features=["stage4"],
    )  # fmt: skip
    config = transformers.DetrConfig(
        backbone_config=backbone, use_timm_backbone=False, use_pretrained_backbone=False, backbone=None,
        num_labels=CLASSES, num_queries=100, d_model=64, encoder_layers=1, decoder_layers=2, encoder_ffn_dim=128,
        decoder_ffn_dim=128, encoder_attention_heads=4, decoder_attention_heads=4,
    )  # fmt: skip
    return transformers.DetrForObjectDetection(config)


def rtdetr() -> torch.nn.Module:
    backbone = transformers.RTDetrResNetConfig(
        embedding_size=16, hidden_sizes=[16, 24, 32, 48], depths=[1, 1, 1, 1], layer_type="basic",
        out_features=["stage2", "stage3", "stage4"],
    )  # fmt: skip
    config = transformers.RTDetrConfig(
        backbone_config=backbone, num_labels=CLASSES, d_model=64, encoder_hidden_dim=64, num_queries=100,
        encoder_in_channels=[24, 32, 48], encoder_ffn_dim=128, encoder_attention_heads=4, eval_size=None,
        decoder_in_channels=[64, 64, 64], decoder_layers=2, decoder_ffn_dim=128, decoder_attention_heads=4,
    )  # fmt: skip
    return transformers.RTDetrForObjectDetection(config)


def shaped(out: SimpleNamespace, mean: tuple[torch.Tensor, ...], kind: str) -> list[np.ndarray]:
    """The model's answer with logits and boxes spread as a trained model's: the last layers, scaled and shifted."""
    if kind == "detr":  # its queries are alike in a picture: their differences are spread, picture by picture
        logit = torch.logit(out.pred_boxes.clamp(1e-4, 1 - 1e-4))
        mean = (out.logits.mean((0, 1)), out.logits.std((0, 1)), logit.mean((0, 1)), logit.std((0, 1)))
    logits = (out.logits - mean[0]) / mean[1] * (2.0 if kind == "detr" else 1.2)
    boxes = torch.logit(out.pred_boxes.clamp(1e-4, 1 - 1e-4))
    boxes = torch.sigmoid((boxes - mean[2]) / mean[3] * 0.8 + torch.tensor([0.0, 0.0, -1.5, -1.5]))
    if kind == "detr":
        logits[..., -1] += 5.0
    else:
        logits -= 4.3
    return [recording.trim(logits.numpy()), recording.trim(boxes.numpy())]


def probable(logits: np.ndarray, kind: str) -> np.ndarray:
    """What the best class of each query scores."""
    every = torch.from_numpy(logits)
    return (torch.softmax(every, -1)[:, :-1] if kind == "detr" else torch.sigmoid(every)).amax(1).numpy()


def make(kind: str) -> None:
    torch.manual_seed(3)
    model = (detr if kind == "detr" else rtdetr)()
    spec = recording.spec_of(
        kind, {}, classes=CLASSES, iou=0.5, most=300, name="pixel_values", shape=(1, 3, SIDE, SIDE), color="RGB",
        resize="stretch", scale=1 / 255,
    )  # fmt: skip
    frames = making.pictures()[:40]
    inputs = [torch.from_numpy(tensor) for tensor in making.tensors(spec, frames)]
    batch = torch.cat(inputs[:8])
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None
    with torch.no_grad():
        model.train()(batch)
        seen = model.eval()(batch)
    logit = torch.logit(seen.pred_boxes.clamp(1e-4, 1 - 1e-4))
    mean = (seen.logits.mean((0, 1)), seen.logits.std((0, 1)), logit.mean((0, 1)), logit.std((0, 1)))
    processor = (transformers.DetrImageProcessor if kind == "detr" else transformers.RTDetrImageProcessor)()

    def cases() -> Iterator[recording.Case]:
        for frame, tensor in zip(frames, inputs, strict=True):
            with torch.no_grad():
                outputs = shaped(model(tensor), mean, kind)
            best = probable(outputs[0][0], kind)
            kept = best >= np.sort(best)[-40]
            nothing = np.full(outputs[0].shape[-1], -20.0, np.float32)
            nothing[-1] = 20.0 if kind == "detr" else -20.0
            outputs = [recording.thin(outputs[0], kept, nothing), recording.thin(outputs[1], kept, 0.0)]
            answer = SimpleNamespace(logits=torch.from_numpy(outputs[0]), pred_boxes=torch.from_numpy(outputs[1]))
            height, width = frame.shape[:2]
            found = processor.post_process_object_detection(answer, SCORE, [(height, width)])[0]
            rows = torch.cat([found["boxes"], found["scores"][:, None], found["labels"][:, None].float()], 1).numpy()
            rows[:, :4] = np.clip(rows[:, :4], 0, [width, height, width, height])
            yield recording.Case((width, height), outputs, making.visible(rows))

    info = [("logits", "tensor(float)"), ("pred_boxes", "tensor(float)")]
    words = f"transformers {transformers.__version__}, {type(processor).__name__}.post_process_object_detection"
    made = recording.Recording(spec, SCORE, words, info, making.worth(cases()))
    recording.save(making.HERE / f"{kind}.npz", made, [-1, -1])


if __name__ == "__main__":
    for kind in sys.argv[1:] or ("detr", "rtdetr"):
        make(kind)
