"""Errors, images, weights, files, memory and the door to Lightning; nothing here knows of style."""
