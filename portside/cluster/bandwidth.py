"""How many bytes per second a node takes in and serves: `limits.bandwidth` of the cluster file.

The cluster file and the agent's settings have the same keys. Without a key there is no bound.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

from portside.quantities import GIB, KIB, Size

LEAST = 64 * KIB
"""Bytes per second. Below it a picture takes minutes, and clients take the node for dead."""

MOST = 1024 * GIB
"""Bytes per second: more than any line has. Behind it is a typing mistake."""

Rate = Annotated[Size, Field(ge=LEAST, le=MOST)]
"""Bytes per second."""

_WITHIN = (("upload", "owner"), ("owner", "node"), ("upload", "node"), ("download", "downloads"))


class BandwidthLimits(BaseModel):
    """Bytes per second; None is without a bound.

    `upload`: of one upload, with all parts that come at once. `owner`: of one owner's uploads
    together. `node`: of all uploads and copies that a node takes in. `download`: of one download.
    `downloads`: of all that a node serves.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    upload: Rate | None = None
    owner: Rate | None = None
    node: Rate | None = None
    download: Rate | None = None
    downloads: Rate | None = None

    @model_validator(mode="after")
    def _each_has_an_effect(self) -> BandwidthLimits:
        for part, whole in _WITHIN:
            least, most = getattr(self, part), getattr(self, whole)
            if least and most and least > most:
                raise ValueError(
                    f"{part} is more than {whole}, of which it is a part: lower it, or leave it out"
                )
        return self

    @property
    def bounds_uploads(self) -> bool:
        """Whether anything that comes in is bounded."""
        return any((self.upload, self.owner, self.node))
