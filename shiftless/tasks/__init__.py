"""Tasks: what features are for. Features in, answers out; never a backbone."""
