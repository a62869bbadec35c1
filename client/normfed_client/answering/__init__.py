"""A request comes in: the gate checks it, a task works it out, an answer or a code goes out."""
