"""What a hospital keeps and decides by itself: its minimum of people, who learns and who tests, what it released."""
