from components.controls.component import controls

__all__ = ["controls"]
