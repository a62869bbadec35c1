"""The operator's window: a page, live, read-only, without internet; figures for Prometheus; a word for watchdogs."""
