"""How sites learn together: a row of sharing rule, local objective and server step per algorithm."""
