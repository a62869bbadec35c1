"""What a person types and what they see of it: the commands that have no room of their own, and what all share."""
