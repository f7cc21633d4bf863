"""Odd requests by the ten thousand: whatever comes over the wire gets an answer of its own.

`python -m fuzz` runs nginx as a node has it, with an agent and a control plane behind it, and sends
them what no client would: heads that aren't HTTP, tokens with claims that make no sense, JSON that
is none. Each answer is judged, and afterwards the logs and the processes' threads. A seed repeats a
run. `fuzz.found` has what was found once; the tests send that and a sample of the rest.
"""
