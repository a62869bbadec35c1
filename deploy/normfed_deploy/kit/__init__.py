"""The offline kit: wheels by hash, what is in them, and how they are installed without a network."""
