"""Models as files that other runtimes compute: ONNX, ONNX in eight bits, OpenVINO."""
