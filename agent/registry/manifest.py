"""``manifest.json``, schema 1: what a release is made of and how its model is used.

Pure, and the only definition: the workstation writes what the device reads. A manifest names files by relative path,
SHA-256 and size, so that whoever trusts its bytes trusts the whole release; its own SHA-256 is the release's digest.
Unknown keys are refused, values are never coerced, and :class:`ManifestError` lists every problem that was found.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from agent.errors import ManifestError
from agent.registry import problems
from agent.registry.manifest_values import (
    JsonParameter,
    Metric,
    NpmRange,
    RelativePath,
    SemVer,
    UniqueTexts,
    check_box,
    check_decoder_size,
    check_nonzero,
    check_shape,
)
from agent.types import (
    NAME_PATTERN,
    Box,
    DecoderSpec,
    Digest,
    InputSpec,
    ModelName,
    ModelSpec,
    ReleaseId,
    Task,
)

MAX_MANIFEST_BYTES = 1024 * 1024
MAX_FILE_BYTES = 4 * 1024**3

Name = Annotated[str, Field(pattern=NAME_PATTERN)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Text = Annotated[str, Field(max_length=500)]
Label = Annotated[str, Field(min_length=1, max_length=100)]
Share = Annotated[float, Field(ge=0, le=1)]
Shape = Annotated[tuple[int, int, int, int], AfterValidator(check_shape)]
Triple = tuple[float, float, float]
Divisors = Annotated[Triple, AfterValidator(check_nonzero)]
Provider = Annotated[str, Field(pattern=r"^[A-Za-z0-9]+ExecutionProvider$", max_length=64)]


class Part(BaseModel):
    """Base of every part: frozen, strict (nothing is coerced), finite, and unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class FileEntry(Part):
    """A file of the release: its path below the manifest, SHA-256 and size in bytes."""

    path: RelativePath
    sha256: Sha256
    size: int = Field(ge=1, le=MAX_FILE_BYTES)


class Input(Part):
    """How a frame becomes the model's input; see :class:`agent.types.InputSpec`."""

    name: str = Field(min_length=1, max_length=200)
    shape: Shape
    dtype: Literal["float32", "float16", "uint8"] = "float32"
    layout: Literal["NCHW", "NHWC"] = "NCHW"
    color: Literal["BGR", "RGB"] = "BGR"
    resize: Literal["letterbox", "stretch"] = "letterbox"
    anchor: Literal["top-left", "center"] = "top-left"
    pad: int = Field(114, ge=0, le=255)
    scale: float = Field(1.0, gt=0)
    mean: Triple = (0.0, 0.0, 0.0)
    std: Divisors = (1.0, 1.0, 1.0)


class InputOverride(Part):
    """The parts of :class:`Input` in which a variant differs."""

    name: str | None = Field(None, min_length=1, max_length=200)
    shape: Shape | None = None
    dtype: Literal["float32", "float16", "uint8"] | None = None
    layout: Literal["NCHW", "NHWC"] | None = None
    color: Literal["BGR", "RGB"] | None = None
    resize: Literal["letterbox", "stretch"] | None = None
    anchor: Literal["top-left", "center"] | None = None
    pad: int | None = Field(None, ge=0, le=255)
    scale: float | None = Field(None, gt=0)
    mean: Triple | None = None
    std: Divisors | None = None


class Parameters(BaseModel):
    """Base of decoders: any further key is a parameter of its family (number, text, boolean or lists of these)."""

    model_config = ConfigDict(frozen=True, extra="allow", strict=True, allow_inf_nan=False)
    __pydantic_extra__: dict[str, JsonParameter]

    @property
    def params(self) -> dict[str, Any]:
        """The family's parameters."""
        return dict(self.__pydantic_extra__ or {})


class Decoder(Parameters):
    """The family that reads the outputs, and its parameters."""

    kind: Name


class DecoderOverride(Parameters):
    """The parameters in which a variant differs; another ``kind`` starts from no parameters."""

    kind: Name | None = None


class Variant(Part):
    """One model file of the release, made for some execution providers and a precision."""

    providers: Annotated[tuple[Provider, ...], Field(min_length=1, max_length=16), UniqueTexts]
    precision: Literal["fp32", "fp16", "int8"]
    file: FileEntry
    input: InputOverride | None = None
    decoder: Annotated[DecoderOverride, AfterValidator(check_decoder_size)] | None = None


class Thresholds(Part):
    """What is reported, and how overlapping boxes are merged."""

    score: Share = 0.35
    nms_iou: Share = 0.5
    max_detections: int = Field(100, ge=1, le=1000)


class GoldenDetection(Part):
    """A box that the model must see, in pixels of the golden image."""

    label: Label
    score: Share
    box: Annotated[Box, AfterValidator(check_box)]


class GoldenClass(Part):
    """A class that the model must name."""

    label: Label
    score: Share


class Golden(Part):
    """An image and what the model must see in it on any device: ``detections``, or ``classes`` of a classifier."""

    image: FileEntry
    detections: tuple[GoldenDetection, ...] | None = Field(None, max_length=1000)
    classes: tuple[GoldenClass, ...] | None = Field(None, max_length=1000)


class GoldenTolerance(Part):
    """How far a device may differ from a golden image."""

    iou: Share = 0.8
    score: Share = 0.1
    min_matched: Share = 0.9


class Budget(Part):
    """The most that one frame may take (p95) and the model may hold in memory."""

    latency_ms_p95: float | None = Field(None, gt=0)
    memory_mb: float | None = Field(None, gt=0)


class Calibration(Part):
    """The images that the quantizer was shown."""

    images: int = Field(ge=1)
    sha256: Sha256 | None = None


class Quantization(Part):
    """How an INT8 variant came about."""

    method: Text
    calibration: Calibration | None = None
    kept_float: tuple[str, ...] = Field((), max_length=10_000)


class Requires(Part):
    """What a device must offer."""

    agent: NpmRange | None = None
    memory_mb: float | None = Field(None, gt=0)


class Manifest(Part):
    """A whole release; made by :func:`load_manifest`, which checks besides what no single field can."""

    schema_: Literal[1] = Field(alias="schema")
    model: Name
    version: SemVer
    task: Task
    description: Text = ""
    license: Text = ""
    variants: tuple[Variant, ...] = Field(min_length=1, max_length=16)
    input: Input
    decoder: Annotated[Decoder, AfterValidator(check_decoder_size)]
    labels: Annotated[tuple[Label, ...], Field(min_length=1, max_length=10_000), UniqueTexts]
    thresholds: Thresholds = Thresholds()
    golden: tuple[Golden, ...] = Field((), max_length=64)
    golden_tolerance: GoldenTolerance = GoldenTolerance()
    budget: dict[Name, Budget] = Field({}, max_length=64)
    quantization: Quantization | None = None
    metrics: dict[str, Metric] = Field({}, max_length=200)
    requires: Requires = Requires()

    @property
    def files(self) -> tuple[FileEntry, ...]:
        """Every file once: models first, then golden images."""
        entries = [variant.file for variant in self.variants] + [golden.image for golden in self.golden]
        return tuple({entry.sha256: entry for entry in entries}.values())

    @property
    def total_bytes(self) -> int:
        """Size of all files together."""
        return sum(entry.size for entry in self.files)

    def budget_for(self, device_class: str | None) -> Budget | None:
        """Return the budget for a class of device, else the default one, else None."""
        return self.budget.get(device_class or "default") or self.budget.get("default")

    def input_of(self, variant: int) -> Input:
        """Return the input of a variant, its overrides taken in."""
        override = self.variants[variant].input
        changes = override.model_dump(exclude_none=True) if override else {}
        return self.input.model_copy(update=changes)

    def decoder_of(self, variant: int) -> DecoderSpec:
        """Return the decoder of a variant, its overrides taken in."""
        override = self.variants[variant].decoder
        if override is None:
            return DecoderSpec(self.decoder.kind, self.decoder.params)
        if override.kind is not None and override.kind != self.decoder.kind:
            return DecoderSpec(override.kind, override.params)
        return DecoderSpec(self.decoder.kind, {**self.decoder.params, **override.params})

    def spec(self, variant: int, digest: Digest) -> ModelSpec:
        """Return all that a worker must know of a variant of the release ``digest``."""
        return ModelSpec(
            release=ReleaseId(ModelName(self.model), self.version, digest),
            task=self.task,
            input=InputSpec(**self.input_of(variant).model_dump()),
            decoder=self.decoder_of(variant),
            num_classes=len(self.labels),
            nms_iou=self.thresholds.nms_iou,
            max_detections=self.thresholds.max_detections,
        )


def load_manifest(data: bytes) -> Manifest:
    """Read and check a manifest. Raises :class:`ManifestError`, whose message lists every problem."""
    if len(data) > MAX_MANIFEST_BYTES:
        raise ManifestError(f"manifest.json has {len(data)} bytes; at most {MAX_MANIFEST_BYTES} are allowed")
    try:
        manifest = Manifest.model_validate_json(data)
    except ValidationError as error:
        raise _refused(problems.describe(error, Manifest)) from error
    contradictions = list(_contradictions(manifest))
    if contradictions:
        raise _refused(contradictions)
    return manifest


def dump_manifest(manifest: Manifest) -> bytes:
    """Write a manifest as JSON that :func:`load_manifest` reads back as an equal one."""
    fields = manifest.model_dump(mode="json", by_alias=True, exclude_none=True)
    return (json.dumps(fields, indent=2, ensure_ascii=False) + "\n").encode()


def release_digest(data: bytes) -> Digest:
    """Return the digest of the release whose ``manifest.json`` has these bytes."""
    return Digest(hashlib.sha256(data).hexdigest())


def manifest_json_schema() -> dict[str, Any]:
    """Return the JSON Schema of ``manifest.json``."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Lookout release manifest, schema 1",
        **Manifest.model_json_schema(by_alias=True),
    }


def _refused(lines: list[str]) -> ManifestError:
    count = f"{len(lines)} problem{'s' if len(lines) > 1 else ''}"
    return ManifestError(f"manifest.json has {count}:\n  " + "\n  ".join(lines))


def _contradictions(manifest: Manifest) -> Iterator[str]:
    """Yield what is wrong although every field is right by itself."""
    yield from _input_contradictions(manifest)
    yield from _file_contradictions(manifest)
    yield from _golden_contradictions(manifest)


def _input_contradictions(manifest: Manifest) -> Iterator[str]:
    for number in range(len(manifest.variants)):
        merged = manifest.input_of(number)
        channels = merged.shape[1 if merged.layout == "NCHW" else 3]
        if channels != 3:
            yield (
                f"variants.{number}: input.shape {list(merged.shape)} has {channels} channels in layout "
                f"{merged.layout}; 3 are needed"
            )


def _file_contradictions(manifest: Manifest) -> Iterator[str]:
    by_path: dict[str, FileEntry] = {}
    sizes: dict[str, int] = {}
    named = [(f"variants.{n}.file", v.file) for n, v in enumerate(manifest.variants)]
    named += [(f"golden.{n}.image", g.image) for n, g in enumerate(manifest.golden)]
    for where, entry in named:
        if by_path.setdefault(entry.path, entry) != entry:
            yield f"{where}: {entry.path!r} is named twice with different sha256 or size"
        elif sizes.setdefault(entry.sha256, entry.size) != entry.size:
            yield f"{where}: two files have one sha256 and different sizes"


def _golden_contradictions(manifest: Manifest) -> Iterator[str]:
    wanted, other = ("detections", "classes") if manifest.task == "detect" else ("classes", "detections")
    for number, golden in enumerate(manifest.golden):
        if getattr(golden, wanted) is None or getattr(golden, other) is not None:
            yield f"golden.{number}: must have {wanted!r}, and nothing else, because task is {manifest.task!r}"
        labels = [sight.label for sight in golden.detections or ()] + [sight.label for sight in golden.classes or ()]
        for position, label in enumerate(labels):
            if label not in manifest.labels:
                nearest = problems.nearest(label, manifest.labels)
                yield f"golden.{number}.{wanted}.{position}.label: {label!r} is not among labels{nearest}"
