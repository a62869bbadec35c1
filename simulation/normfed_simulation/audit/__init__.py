"""What an attacker could still learn of people from what a federation lets out, measured: `normfed audit-privacy`."""
