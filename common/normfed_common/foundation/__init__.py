"""What every other room stands on: errors, files, arrays on disk, digests, seeds, registries."""
