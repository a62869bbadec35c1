"""What is done to every anomaly map alike."""
