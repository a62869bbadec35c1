"""What the hospital keeps and decides: its folder, rules, whom an answer may be about, outbox, personal parts."""
