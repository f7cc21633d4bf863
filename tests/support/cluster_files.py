"""A cluster file as tests need one: two storage nodes and one that controls."""

from __future__ import annotations

CLUSTER = """
name: test
domain: portside.test
nodes: {s01: {}, s02: {}, c01: {}}
cors: {origins: ['https://app.portside.test']}
"""
