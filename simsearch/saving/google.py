"""Google's layout: all that we know of the checkpoint, heads included."""

from __future__ import annotations

from pathlib import Path

from simsearch.checkpoint import Checkpoint
from simsearch.pooling import Pooling
from simsearch.saving.folder import fresh_folder, write_manifest
from simsearch.whitening import Whitening


def save_google(
    folder: Path, checkpoint: Checkpoint, pooling: Pooling, whitening: Whitening | None
) -> None:
    """Write a checkpoint that loads as this encoder, options included.

    Raises SettingsError if ``folder`` exists and is not empty, or cannot be written.
    """
    from simsearch import bert  # TensorFlow, which a query does without

    with fresh_folder(folder) as aside:
        bert.save_checkpoint(checkpoint, aside)
        write_manifest(checkpoint, pooling, whitening, aside)
