"""Portside's shared kernel and its people's side: cluster file, sizing, tokens, client, commands.

Everything above it (agent, control plane, deploys, fabfile) imports this package; it imports
none of them.
"""
