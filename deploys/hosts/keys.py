"""Whose word a node takes right now."""

from __future__ import annotations

import json
import shlex

from pydantic import ValidationError
from pyinfra.api.exceptions import FactProcessError
from pyinfra.api.facts import FactBase

from portside.wire.keys import PublicKey


class IssuersTrusted(FactBase[dict[str, bool]]):
    """The ids of the issuers' keys in the node's keyset, and whether each has an end; none where it
    has no keyset that can be read."""

    default = dict

    def command(self, keyset: str) -> str:
        return f"cat {shlex.quote(keyset)} 2>/dev/null || true"

    def process(self, output: list[str]) -> dict[str, bool]:
        try:
            found = json.loads("\n".join(output) or "{}")
            return {str(key["kid"]): bool(key.get("not_after")) for key in found.get("keys", ())}
        except (ValueError, KeyError, TypeError, AttributeError):
            return {}


class NextKeyShown(FactBase[PublicKey | None]):
    """The public half of the key that is to take the place of the node's; makes it if need be."""

    @staticmethod
    def default() -> PublicKey | None:
        return None

    def command(self, identity: str) -> str:
        return f"{identity} --prepare 2>/dev/null || true"

    def process(self, output: list[str]) -> PublicKey | None:
        shown = [line for line in output if line.startswith("{")]
        try:
            return PublicKey.model_validate_json(shown[0]) if shown else None
        except ValidationError as error:
            raise FactProcessError(f"the node's next key can't be read: {error}") from None
