"""The aggregation side: asks sites, adds up their answers, keeps checkpoints. Cannot open a scan."""
