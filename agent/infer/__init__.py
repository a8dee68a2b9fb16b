"""From a frame to detections: preprocess, ONNX Runtime, decoders, NMS."""
