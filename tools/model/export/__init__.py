"""From PyTorch or TensorFlow to ONNX, with the parity measured."""
