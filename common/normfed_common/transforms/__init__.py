"""What is done to every scan before a model sees it, perhaps learnt itself: harmonization, synthesis of modalities."""
