"""Neural style transfer steered by depth."""
