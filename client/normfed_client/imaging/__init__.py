"""From files in a dataset to volumes on the common grid."""
