"""What makes nodes for the deploy's tests."""

from __future__ import annotations

from collections.abc import Callable

from deploys.hosts.node import Node, StorageNode

MakeNode = Callable[..., StorageNode]
MakeControl = Callable[..., Node]
