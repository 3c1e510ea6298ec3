"""Taking up the journal that is there, or beginning one: only the same measurement goes on with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hessent.errors import UsageError
from hessent.journal.documents import NewerSchemaError, differences, read_document, render
from hessent.journal.folder import JournalFolder
from hessent.journal.owned_alone import OwnedAlone
from hessent.journal.presence import Presence
from hessent.journal.shared_by_locks import SharedByLocks
from hessent.storage.file_lock import LocksUnsupportedError
from hessent.storage.sealed_file import DamagedFileError
from hessent.storage.whole_file import write_first

_BEGIN_ANEW = "--force to discard what is there, or -o OTHER"
_MOST_SHOWN = 20


def enter(folder: JournalFolder, identity: Mapping[str, Any], *, force: bool) -> Presence:
    """Be present in the journal of a folder, which is made where it is missing.

    Parameters
    ----------
    folder : JournalFolder
        Where it lies.
    identity : mapping
        The measurement, as it comes back from a file.
    force : bool
        Discard what is there.

    Returns
    -------
    Presence
        Entered.

    Raises
    ------
    UsageError
        If what is there is another journal, a damaged one, in use where it is to be discarded, or no journal.
    StorageError
        If it cannot be written.
    OSError
        If the folder cannot be used, or vanishes at this moment.
    """
    folder.make()
    presence: Presence = SharedByLocks(folder)
    try:
        with presence.alone():
            _take_up(folder, presence, identity, force=force)
    except LocksUnsupportedError:
        presence = OwnedAlone(folder)
        try:
            _take_up(folder, presence, identity, force=force)
        except BaseException:
            presence.leave()
            raise
    return presence


def _take_up(folder: JournalFolder, presence: Presence, identity: Mapping[str, Any], *, force: bool) -> None:
    """Go on with the journal in the folder, or begin it; everyone else is kept out meanwhile."""
    folder.make_rooms()
    others = presence.others()
    if force and others:
        raise UsageError(
            "is in use, so it cannot be discarded",
            where=folder.shown,
            problems=others,
            fix="wait for it or end it; without --force this command joins it",
        )
    if force:
        folder.clear()
    if not others:
        folder.sweep()
        folder.sweep_beside()
    standing = _standing_manifest(folder)
    if standing is None:
        write_first(folder.manifest, render(identity))
    elif differing := differences(standing, identity):
        raise UsageError(
            "holds a measurement begun otherwise",
            where=folder.shown,
            problems=differing,
            fix="--force to discard it, or -o OTHER to keep both",
        )
    presence.enter()


def _standing_manifest(folder: JournalFolder) -> dict[str, Any] | None:
    """Return the identity of the measurement in the folder; None where none was begun."""
    try:
        standing = read_document(folder.manifest)
    except NewerSchemaError as error:
        raise UsageError(
            f"was begun by another hessent (its schema is '{error}')",
            where=folder.shown,
            fix=f"a newer hessent (pip install -U hessent); or {_BEGIN_ANEW}",
        ) from error
    except DamagedFileError as error:
        raise UsageError(
            f"is damaged: it does not say any more what is measured ({error})",
            where=folder.show(folder.manifest),
            fix=_BEGIN_ANEW,
        ) from error
    if standing is not None:
        return standing
    if folder.holds_work():
        raise UsageError(
            "is damaged: its manifest.json is missing, which says what is measured",
            where=folder.shown,
            fix=_BEGIN_ANEW,
        )
    if strangers := folder.strangers():
        raise UsageError(
            "is in the way: a folder that hessent did not make",
            where=folder.shown,
            problems=strangers[:_MOST_SHOWN],
            fix=f"mv '{folder.shown}' ELSEWHERE, or -o OTHER",
        )
    return None
