"""What records can say: a closed vocabulary, and no text from elsewhere but names with a pattern and a bound.

No record has a place for a person's identifier, a path or an exact number of people.
"""
