"""Chains of records: what was done at a site and at the server, so that anybody can verify it afterwards."""
