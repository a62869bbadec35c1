"""Server steps: how the next global model is made from the answers of a round; one file a step."""
