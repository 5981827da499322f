from components.package.component import package

__all__ = ["package"]
