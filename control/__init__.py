"""Portside's control plane: sessions, placement, the catalogue of files, work for nodes.

It may be stopped at any moment: uploads with tokens, downloads and replication go on without it.
"""
