from components.featurize.component import featurize

__all__ = ["featurize"]
