"""ComBat: what a scanner adds to features and by what it multiplies them, taken off; learnt by sums over sites."""
