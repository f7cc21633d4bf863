"""Crash figures: what is left of acknowledged files after kills, power cuts and failing disks.

`python -m faults` runs real servers under load, crashes them, starts them again and compares what
they kept with what they had said. Peers meet the same power cuts.
"""
