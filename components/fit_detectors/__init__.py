from components.fit_detectors.component import fit_detectors

__all__ = ["fit_detectors"]
