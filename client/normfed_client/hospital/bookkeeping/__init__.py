"""What a hospital spent of its people's privacy, and may spend: the ledger, the budget, the clock, signed counters."""
