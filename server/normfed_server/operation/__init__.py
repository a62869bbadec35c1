"""What runs a server: its services, and the reconciler that brings open runs back."""
