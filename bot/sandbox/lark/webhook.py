"""Requests to the app's webhook: encryption and signature."""

import base64
import hashlib
import json
import os
import secrets

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.padding import PKCS7

from bot.sandbox.json_http import Json


def encrypt(encrypt_key: str, plaintext: bytes, iv: bytes | None = None) -> str:
    """Encrypt with AES-256-CBC under the SHA-256 of the key; return the base64 of IV and ciphertext."""
    iv = iv or os.urandom(16)
    padder = PKCS7(128).padder()
    padded = padder.update(plaintext) + padder.finalize()
    encryptor = Cipher(
        algorithms.AES(hashlib.sha256(encrypt_key.encode()).digest()), modes.CBC(iv)
    ).encryptor()
    return base64.b64encode(iv + encryptor.update(padded) + encryptor.finalize()).decode()


def signature(timestamp: str, nonce: str, encrypt_key: str, body: bytes) -> str:
    return hashlib.sha256((timestamp + nonce + encrypt_key).encode() + body).hexdigest()


def encrypted_request(encrypt_key: str, content: Json, timestamp: int) -> tuple[bytes, dict[str, str]]:
    """Return body and headers of one request; without an encrypt key neither encrypted nor signed."""
    plain = json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()
    headers = {"Content-Type": "application/json; charset=utf-8"}
    if not encrypt_key:
        return plain, headers
    body = json.dumps({"encrypt": encrypt(encrypt_key, plain)}).encode()
    nonce = secrets.token_hex(8)
    headers |= {
        "X-Lark-Request-Timestamp": str(timestamp),
        "X-Lark-Request-Nonce": nonce,
        "X-Lark-Signature": signature(str(timestamp), nonce, encrypt_key, body),
    }
    return body, headers
