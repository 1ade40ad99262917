"""Pictures with depth seen from other places: layers, their renderer, and what is made of views."""
