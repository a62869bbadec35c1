"""Who is there, who is asked, when a round closes, and whether an answer can be true."""
