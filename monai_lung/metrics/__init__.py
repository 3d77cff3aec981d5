"""Figures of accuracy with their intervals, and the adapters between network outputs and MONAI's metrics."""
