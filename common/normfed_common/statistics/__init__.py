"""What may be asked of cohorts before training: tables of people and intensities, as one learner of sums."""
