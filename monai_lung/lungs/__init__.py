"""The lungs of a chest CT: right and left, with their consolidations and what the hilum hides. No network, no MONAI."""

from monai_lung.lungs.segment import segment_lungs

__all__ = ["segment_lungs"]
