"""Seals secrets at rest: AES-256-GCM with several keys. Does not depend on tables."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import logging
import secrets
from collections.abc import Sequence

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from bot.core.errors import CannotOpenSecret
from bot.core.secrets import Secret

log = logging.getLogger(__name__)

KEY_BYTES = 32
NONCE_BYTES = 12
"""96 random bits (NIST SP 800-38D, 8.2.2): enough for about 2**32 seals with one key."""
VERSION = "v1"

Plain = str | int | bool | None | list[str]
"""A value that a secret can be bound to."""


def new_key() -> str:
    """Return a new key in the format of BOT_ENCRYPTION_KEYS."""
    return _encode(secrets.token_bytes(KEY_BYTES))


class Keyring:
    """The keys of BOT_ENCRYPTION_KEYS: the first one seals, all of them open.

    A sealed text has the form `v1.<key id>.<nonce and ciphertext, base64url>`. It is bound to its row and column: moved
    elsewhere, it does not open. It may also be bound to *deciding* values of its row, which decide how it is used: if one
    of them is changed, it does not open.

    The content may be empty. The seal is then only a proof that a holder of the keys wrote these values.
    """

    def __init__(self, keys: Sequence[str]) -> None:
        """Raises ValueError for a malformed key. The message contains the key's position, never its value."""
        if not keys:
            raise ValueError("There is no encryption key.")
        material = [_key_material(key, place) for place, key in enumerate(keys, start=1)]
        self.key_ids = tuple(_key_id(each) for each in material)
        """Short public fingerprints, in the order of the keys."""
        self.secret_names = tuple(_secret_name(each) for each in material)
        """A name for each key that only a holder of the key can derive."""
        self._pseudonym_key = hmac.digest(material[0], b"pseudonyms", "sha256")
        self._ciphers = {key_id: AESGCM(each) for key_id, each in zip(self.key_ids, material, strict=True)}
        self._first = self._ciphers[self.key_ids[0]]
        self.prefix = f"{VERSION}.{self.key_ids[0]}."
        """The beginning of every text that the first key has sealed."""
        self._elsewhere: frozenset[str] = frozenset()
        self._missed: set[str] = set()
        self._gone: frozenset[str] = frozenset()

    def seal(self, secret: Secret, bound_to: str, *deciding: Plain) -> str:
        nonce = secrets.token_bytes(NONCE_BYTES)
        return self.prefix + _encode(
            nonce + self._first.encrypt(nonce, secret.reveal().encode(), _bound(bound_to, deciding))
        )

    def open(self, sealed: str, bound_to: str, *deciding: Plain) -> Secret:
        """Open a sealed text.

        Raises `CannotOpenSecret` if no key of the keyring sealed it, if it was moved, or if it or a deciding value was
        changed.
        """
        version, key_id, text = _parts(sealed)
        cipher = self._ciphers.get(key_id)
        if version != VERSION or cipher is None:
            raise CannotOpenSecret(f"{bound_to} was sealed with the key {key_id or '?'}, which is missing.")
        try:
            data = _decode(text)
            return Secret(
                cipher.decrypt(data[:NONCE_BYTES], data[NONCE_BYTES:], _bound(bound_to, deciding)).decode()
            )
        except (InvalidTag, ValueError) as error:
            raise CannotOpenSecret(f"{bound_to} does not open: it was changed, or moved here.") from error

    def pseudonym(self, text: str) -> str:
        """Return a name of 32 characters for a text, which only a holder of the first key can compute."""
        return hmac.digest(self._pseudonym_key, text.encode(), "sha256").hex()[:32]

    def fits(self, sealed: str, bound_to: str, *deciding: Plain) -> bool:
        """Return whether the keyring opens this sealed text."""
        try:
            self.open(sealed, bound_to, *deciding)
        except CannotOpenSecret:
            return False
        return True

    def open_unless_lost(self, sealed: str, bound_to: str, *deciding: Plain) -> Secret | None:
        """Open a sealed text; return None, and log an error, if no running replica can open it.

        Raises `CannotOpenSecret` while a running replica has the key that this one lacks, or may have it since the last
        `learn`.
        """
        try:
            return self.open(sealed, bound_to, *deciding)
        except CannotOpenSecret as error:
            if self._may_be_elsewhere(sealed):
                raise
            log.error("a stored secret is lost", extra={"row": bound_to, "reason": str(error)})
            return None

    def is_genuine(self, seal: str | None, bound_to: str, *deciding: Plain) -> bool | None:
        """Return whether a holder of the keys wrote these values; if not, log an error.

        Returns None if that is unknown, because a running replica has the key that this one lacks, or may have it since
        the last `learn`.
        """
        try:
            self.open(seal or "", bound_to, *deciding)
        except CannotOpenSecret as error:
            if seal and self._may_be_elsewhere(seal):
                return None
            log.error("a stored row is not genuine", extra={"row": bound_to, "reason": str(error)})
            return False
        return True

    def learn(self, elsewhere: frozenset[str]) -> None:
        """Record the fingerprints of all running replicas' keys, to distinguish another replica's key from a lost key."""
        self._gone = (self._gone | self._missed) - elsewhere
        self._elsewhere, self._missed = elsewhere, set()

    def _may_be_elsewhere(self, sealed: str) -> bool:
        key_id = _parts(sealed)[1]
        return key_id not in self.key_ids and not self._is_gone(key_id)

    def _is_gone(self, key_id: str) -> bool:
        if key_id not in self._elsewhere:
            self._missed.add(key_id)
        return key_id in self._gone


def _bound(bound_to: str, deciding: Sequence[Plain]) -> bytes:
    """Serialize as JSON, so that different lists of values never give the same text."""
    return json.dumps([bound_to, *deciding]).encode() if deciding else bound_to.encode()


def _parts(sealed: str) -> tuple[str, str, str]:
    """Split a sealed text into version, key id and encrypted part."""
    version, _, rest = sealed.partition(".")
    key_id, _, text = rest.partition(".")
    return version, key_id, text


def _key_material(key: str, place: int) -> bytes:
    try:
        material = _decode(key.strip())
    except (ValueError, UnicodeEncodeError):
        raise ValueError(f"Encryption key {place} is not base64url.") from None
    if len(material) != KEY_BYTES:
        raise ValueError(f"Encryption key {place} has {len(material)} bytes instead of {KEY_BYTES}.")
    return material


def _key_id(material: bytes) -> str:
    return hashlib.sha256(b"key id:" + material).hexdigest()[:8]


def _secret_name(material: bytes) -> str:
    return hmac.digest(material, b"secret name", "sha256").hex()[:32]


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    """Decode strictly: by default the standard library skips invalid characters."""
    bare = text.rstrip("=").encode("ascii")
    try:
        return base64.b64decode(bare + b"=" * (-len(bare) % 4), altchars=b"-_", validate=True)
    except binascii.Error as error:
        raise ValueError("not base64url") from error
