"""What a finding depends on: the guest images that were there."""

from __future__ import annotations

import hashlib

from ..guest import shipped


def images_digest(*names: str) -> str:
    """Name these shipped images by their content."""
    return hashlib.sha256(b"".join(shipped.image(n).read_bytes() for n in names)).hexdigest()
