"""What a run leaves in its folder: writing it, reading it, its names."""
