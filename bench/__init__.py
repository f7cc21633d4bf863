"""Figures: Portside's speed beside its peers', taken in one run on one machine."""
