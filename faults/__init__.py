"""Crash figures: what is left of acknowledged files after kills, power cuts and failing disks.

`python -m faults` runs real servers under load, crashes them, starts them again and compares what
they kept with what they had said; on disks, too, that something else has filled. Peers meet the
same power cuts. `faults.causing` has what goes wrong, `faults.checking` what is right.
"""
