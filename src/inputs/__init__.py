"""Files to scenes and style pictures. What others use is re-exported here."""

from src.inputs.scenes import Scene, load_scene, load_style

__all__ = ["Scene", "load_scene", "load_style"]
