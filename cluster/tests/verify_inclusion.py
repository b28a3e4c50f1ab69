#!/usr/bin/env python3
"""Verifies an inclusion proof of the audit log with nothing but Python's standard library.

usage: verify_inclusion.py VKEY < proof.json

VKEY is the log's public key as a C2SP signed-note verifier key. Exit status 0 when the record is in the log, 1 when not.
"""

import base64, hashlib, json, sys

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P


def add(a, b):
    """Adds two points in extended coordinates (RFC 8032, section 5.1.4)."""
    aa, bb = (a[1] - a[0]) * (b[1] - b[0]) % P, (a[1] + a[0]) * (b[1] + b[0]) % P
    cc, dd = 2 * a[3] * b[3] * D % P, 2 * a[2] * b[2] % P
    e, f, g, h = bb - aa, dd - cc, dd + cc, bb + aa
    return e * f % P, g * h % P, f * g % P, e * h % P


def multiply(scalar, point):
    """Adds a point to itself."""
    sum_ = (0, 1, 1, 0)
    while scalar:
        if scalar & 1:
            sum_ = add(sum_, point)
        point, scalar = add(point, point), scalar >> 1
    return sum_


def decode_point(data):
    """Decodes a point (RFC 8032, section 5.1.3)."""
    y = int.from_bytes(data, "little")
    sign, y = y >> 255, y & (2**255 - 1)
    square = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * pow(2, (P - 1) // 4, P) % P
    assert y < P and (x * x - square) % P == 0 and not (x == 0 and sign), "not a point"
    x = P - x if x & 1 != sign else x
    return x, y, 1, x * y % P


def is_signed(public, message, signature):
    """Verifies an Ed25519 signature (RFC 8032, section 5.1.7)."""
    s = int.from_bytes(signature[32:], "little")
    hash_ = hashlib.sha512(signature[:32] + public + message).digest()
    challenge = int.from_bytes(hash_, "little") % L
    base = decode_point((4 * pow(5, P - 2, P) % P).to_bytes(32, "little"))
    left = multiply(s, base)
    right = add(decode_point(signature[:32]), multiply(challenge, decode_point(public)))
    same = [(left[i] * right[2] - right[i] * left[2]) % P == 0 for i in (0, 1)]
    return len(signature) == 64 and s < L and all(same)


def root_of(leaf, index, path, size):
    """Root that the path leads to (RFC 9162, section 2.1.3.2)."""
    node, last = hashlib.sha256(b"\0" + leaf).digest(), size - 1
    for neighbour in path:
        assert last > 0, "the path is too long"
        if index & 1 or index == last:
            node = hashlib.sha256(b"\1" + neighbour + node).digest()
            while not index & 1 and index:
                index, last = index >> 1, last >> 1
        else:
            node = hashlib.sha256(b"\1" + node + neighbour).digest()
        index, last = index >> 1, last >> 1
    assert last == 0, "the path is too short"
    return node


def main():
    name, key_id, key = sys.argv[1].split("+", 2)
    kind, public = base64.b64decode(key)[:1], base64.b64decode(key)[1:]
    assert kind == b"\1" and hashlib.sha256(name.encode() + b"\n" + kind + public).hexdigest()[:8] == key_id, "not a key"
    proof = json.load(sys.stdin)
    text, lines = proof["checkpoint"].rsplit("\n\n", 1)
    text += "\n"
    signatures = [line.split(" ")[2] for line in lines.splitlines() if line.startswith(f"— {name} ")]
    signatures = [base64.b64decode(signature) for signature in signatures]
    mine = [signature[4:] for signature in signatures if signature[:4].hex() == key_id]
    assert mine and all(is_signed(public, text.encode(), signature) for signature in mine), "the log has not signed it"
    _origin, size, root = text.split("\n")[:3]
    path = [base64.b64decode(node) for node in proof["path"]]
    assert 0 <= proof["seq"] < int(size), "the checkpoint does not cover the record"
    assert json.loads(proof["leaf"])["seq"] == proof["seq"], "it is another record"
    assert root_of(proof["leaf"].encode(), proof["seq"], path, int(size)) == base64.b64decode(root), "the root differs"
    print(f"record {proof['seq']} is in the log of {size} records that {name} has signed")


if __name__ == "__main__":
    try:
        main()
    except (AssertionError, KeyError, ValueError, TypeError) as error:
        sys.exit(f"wrong: {error}")
