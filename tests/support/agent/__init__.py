"""Agents and workers as they run, damage done to them, and who they talk to."""
