"""How much a model loses at a scanner that it never saw, and what wins it back: one study, once per harmonization."""
