"""The families that this agent can read. One row each; a manifest's ``decoder.kind`` is a key of it."""

from __future__ import annotations

from agent.infer.decoders.base import Decoder
from agent.infer.decoders.centerface import decode_centerface, expect_centerface
from agent.infer.decoders.classify import decode_classify, expect_classify
from agent.infer.decoders.nanodet import decode_nanodet, expect_nanodet
from agent.infer.decoders.yolox import decode_yolox, expect_yolox

DECODERS: dict[str, Decoder] = {
    "yolox": Decoder(decode_yolox, expect_yolox, "detect"),
    "nanodet": Decoder(decode_nanodet, expect_nanodet, "detect"),
    "centerface": Decoder(decode_centerface, expect_centerface, "detect"),
    "classify": Decoder(decode_classify, expect_classify, "classify"),
}
