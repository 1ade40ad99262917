"""Files to scenes and style pictures. What others use is re-exported here."""

from src.inputs.scenes import Estimator, Scene, load_scene, load_style

__all__ = ["Estimator", "Scene", "load_scene", "load_style"]
