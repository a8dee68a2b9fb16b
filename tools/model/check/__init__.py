"""What an ONNX file holds, and whether each target can run it well."""
