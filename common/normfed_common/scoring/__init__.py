"""One-class scores in latent space: patient-specific, per location, federated."""
