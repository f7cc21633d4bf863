"""Requests to nodes and control planes: connections, answers, errors in words, when to try
again."""
