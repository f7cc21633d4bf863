"""What else nginx serves on a node, beside Portside: `nginx` of the cluster file."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class NginxSettings(BaseModel):
    """With `keep`, an operator's own sites stay: Portside's nginx.conf includes them.

    Without it they are refused by name before anything is changed, for nginx.conf is one file that
    is checked as a whole, and what isn't in it isn't served.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    keep: bool = False
