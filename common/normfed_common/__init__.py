"""What hospitals and server must agree on: studies, models, scores, metrics, the wire. Opens no scan and no socket."""
