"""The one training loop, what it minimises, and where it goes on after a crash."""
