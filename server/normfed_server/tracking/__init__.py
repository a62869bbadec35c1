"""A run passed on to what researchers keep their experiments with: MLflow, TensorBoard, Weights & Biases."""
