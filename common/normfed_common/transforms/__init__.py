"""What is done to every scan before a model sees it, perhaps learnt itself: harmonisation, synthesis of modalities."""
