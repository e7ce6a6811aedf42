"""The transparency log: RFC 6962 trees, signed-note checkpoints, tlog-proofs, tiles (C2SP). From `formats.md`."""

import hashlib
import os
import re
import stat

import ed25519
from wire import Bad, sha256, unbase64

TILE = 256
MAX_NOTE, MAX_LINES = 64 * 1024, 64


def leaf_hash(data):
    return sha256(b"\x00" + data)


def node_hash(left, right):
    return sha256(b"\x01" + left + right)


class Tree:
    """Grows by leaf hashes, keeps the roots of its full subtrees only."""

    def __init__(self):
        self.size, self.peaks = 0, []

    def push(self, leaf):
        self.peaks.append(leaf)
        self.size += 1
        size = self.size
        while size % 2 == 0:
            right = self.peaks.pop()
            self.peaks.append(node_hash(self.peaks.pop(), right))
            size //= 2

    def root(self):
        if not self.peaks:
            return sha256(b"")
        root = self.peaks[-1]
        for peak in reversed(self.peaks[:-1]):
            root = node_hash(peak, root)
        return root


def root_of(leaves):
    tree = Tree()
    for leaf in leaves:
        tree.push(leaf)
    return tree.root()


def check_inclusion(leaf, index, size, path, root):
    """RFC 9162, 2.1.3.2."""
    if index >= size:
        raise Bad(f"no entry {index} in a tree of {size}")
    at, last, hashed = index, size - 1, leaf
    for step in path:
        if last == 0:
            raise Bad("the proof is too long")
        if at & 1 or at == last:
            hashed = node_hash(step, hashed)
            while not at & 1 and at:
                at >>= 1
                last >>= 1
        else:
            hashed = node_hash(hashed, step)
        at >>= 1
        last >>= 1
    if last or hashed != root:
        raise Bad("the proof leads to another root")


def check_consistency(old, old_root, new, new_root, path):
    """RFC 9162, 2.1.4.2."""
    if old > new or old == 0:
        if old == 0 and not path and old_root == sha256(b""):
            return
        raise Bad("no consistency between these sizes")
    if old == new:
        if path or old_root != new_root:
            raise Bad("two roots of one size")
        return
    path = list(path)
    if old & (old - 1) == 0:
        path.insert(0, old_root)
    if not path:
        raise Bad("the proof is too short")
    at, last = old - 1, new - 1
    while at & 1:
        at >>= 1
        last >>= 1
    first = second = path[0]
    for step in path[1:]:
        if last == 0:
            raise Bad("the proof is too long")
        if at & 1 or at == last:
            first, second = node_hash(step, first), node_hash(step, second)
            while not at & 1 and at:
                at >>= 1
                last >>= 1
        else:
            second = node_hash(second, step)
        at >>= 1
        last >>= 1
    if last or first != old_root or second != new_root:
        raise Bad("the later tree does not begin with the earlier one")


class Note:
    """A signed note: `text` with its last newline, `lines` as triples of name, 4-byte id, signature."""

    def __init__(self, note):
        if re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", note):
            raise Bad("a control character in a note")
        if len(note.encode()) > MAX_NOTE:
            raise Bad("the note is too large")
        text, blank, signatures = note.rpartition("\n\n")
        if not blank or not signatures.endswith("\n"):
            raise Bad("a note is a text, an empty line and signature lines")
        self.text = text + "\n"
        self.lines = []
        if signatures.count("\n") > MAX_LINES:
            raise Bad("too many signature lines")
        for line in signatures[:-1].split("\n"):
            found = re.fullmatch(r"— ([^\s+]+) (\S+)", line)
            if not found or len(found.group(1).encode()) > 255:
                raise Bad("no signature line")
            data = unbase64(found.group(2))
            if len(data) < 5:
                raise Bad("a signature line without signature")
            self.lines.append((found.group(1), data[:4], data[4:]))

    def check_signed(self, name, keys):
        """By at least one of these keys; lines of others are ignored, a bad one of a known key refuses all."""
        held = 0
        for signer, number, signature in self.lines:
            for public in keys:
                if (signer, number) == (name, note_key_id(name, b"\x01" + public)):
                    if not ed25519.verify(public, self.text.encode(), signature):
                        raise Bad("a signature of the checkpoint does not hold")
                    held += 1
        if not held:
            raise Bad(f"the checkpoint is not signed for the log {name} by a key of its boundary")

    def cosigned_by(self, witness):
        """When this witness (name, key) first cosigned, or None; a bad line of it refuses all. C2SP cosignature/v1."""
        name, public = witness
        first = None
        for signer, number, signature in self.lines:
            if (signer, number) == (name, note_key_id(name, b"\x04" + public)):
                if len(signature) != 72:
                    raise Bad(f"a cosignature of {name} is malformed")
                when = int.from_bytes(signature[:8], "big")
                message = f"cosignature/v1\ntime {when}\n{self.text}".encode()
                if when > 2**63 - 1 or not ed25519.verify(public, message, signature[8:]):
                    raise Bad(f"a cosignature of {name} does not hold")
                first = when if first is None else min(first, when)
        return first


def note_key_id(name, key):
    return sha256(name.encode() + b"\n" + key)[:4]


def read_vkey(vkey):
    """Name and public key of a witness: `name+hex id+base64 of 0x04 and the key`."""
    parts = vkey.split("+", 2)
    if len(parts) != 3 or not parts[0] or re.search(r"\s", parts[0]) or not re.fullmatch(r"[0-9a-f]{8}", parts[1]):
        raise Bad("no verifier key")
    key = unbase64(parts[2])
    if len(key) != 33 or key[0] != 4 or note_key_id(parts[0], key).hex() != parts[1]:
        raise Bad("the verifier key's id is not its own")
    if not ed25519.is_sound_key(key[1:]):
        raise Bad("the verifier key is weak, not canonical or no point")
    return parts[0], key[1:]


class Checkpoint:
    """Origin, size, root: three lines, no extension."""

    def __init__(self, text):
        lines = text.split("\n")
        if len(lines) != 4 or lines[3] or not lines[0]:
            raise Bad("a checkpoint has three lines")
        self.origin, self.size = lines[0], decimal(lines[1])
        self.root = unbase64(lines[2])
        if len(self.root) != 32:
            raise Bad("the root of a checkpoint has 32 bytes")
        if self.size == 0 and self.root != sha256(b""):
            raise Bad("an empty tree with a root")


class Proof:
    """A tlog-proof: `index`, `path`, the text of its checkpoint as `note`."""

    def __init__(self, text):
        if len(text.encode()) > MAX_NOTE:
            raise Bad("the proof is too large")
        head, blank, self.note = text.partition("\n\n")
        lines = head.split("\n")
        if not blank or lines[0] != "c2sp.org/tlog-proof@v1" or len(lines) < 2 or not lines[1].startswith("index "):
            raise Bad("no tlog-proof: first line, `index`, hashes, an empty line, a checkpoint")
        self.index = decimal(lines[1][6:])
        self.path = [unbase64(line) for line in lines[2:]]
        if any(len(step) != 32 for step in self.path) or len(self.path) > 63:
            raise Bad("a hash of a proof has 32 bytes")


def decimal(text):
    if not re.fullmatch(r"0|[1-9][0-9]{0,19}", text) or int(text) > 2**64 - 1:
        raise Bad(f"{text[:40]!r} is no number")
    return int(text)


class Missing(Bad):
    """A file that a copy does not have."""


class Export:
    """A static tlog-tiles directory: `checkpoint`, `tile/<L>/<N>[.p/<W>]`, `tile/entries/<N>[.p/<W>]`, `blob/…`."""

    def __init__(self, folder):
        self.folder = folder

    def read(self, *parts):
        path = os.path.join(self.folder, *parts)
        try:
            # A pipe is opened without waiting for whoever would write to it.
            with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
                if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                    raise Bad(f"{'/'.join(parts)}: it is no regular file")
                return file.read()
        except FileNotFoundError as error:
            raise Missing(f"{'/'.join(parts)}: {error.strerror}") from error
        except OSError as error:
            raise Bad(f"{'/'.join(parts)}: {error.strerror}") from error

    def tile(self, kind, number, width):
        """`tile/0/x001/234` or, where it is not full, `tile/0/x001/234.p/17`."""
        path = "%03d" % (number % 1000)
        while number >= 1000:
            number //= 1000
            path = "x%03d/%s" % (number % 1000, path)
        return self.read("tile", kind, path if width == TILE else f"{path}.p/{width}")

    def check_tile(self, level, number, made):
        """A hash tile follows from the entries. A copy may lack it, and one that is there may say nothing else."""
        try:
            stated = self.tile(str(level), number, len(made))
        except Missing:
            return
        if stated != b"".join(made):
            raise Bad(f"hash tile {level}/{number} is not what its entries give")

    def entries(self, size):
        """All leaf data below `size`, in order, each checked against the lowest hash tiles."""
        self.full = []
        for number in range((size + TILE - 1) // TILE):
            width = min(TILE, size - number * TILE)
            data, at = self.tile("entries", number, width), 0
            hashes, found = [], []
            for _ in range(width):
                length = int.from_bytes(data[at : at + 2], "big")
                entry = data[at + 2 : at + 2 + length]
                if len(data) < at + 2 or len(entry) != length:
                    raise Bad(f"entry tile {number} ends early")
                at += 2 + length
                found.append(entry)
                hashes.append(leaf_hash(entry))
            if at != len(data):
                raise Bad(f"entry tile {number} has bytes left over")
            self.check_tile(0, number, hashes)
            if width == TILE:
                self.full.append(root_of(hashes))
            yield from found

    def check_upper_tiles(self):
        """Every hash tile above the lowest level, once all entries were read."""
        level, hashes = 1, self.full
        while hashes:
            tiles = [hashes[at : at + TILE] for at in range(0, len(hashes), TILE)]
            for number, made in enumerate(tiles):
                self.check_tile(level, number, made)
            level, hashes = level + 1, [root_of(made) for made in tiles if len(made) == TILE]

    def blob(self, digest):
        """The blob of this `sha256:…`, checked against its name."""
        bare = digest.split(":", 1)[1]
        data = None
        for place in (("blob", "sha256", bare), ("blob", bare)):
            if os.path.exists(os.path.join(self.folder, *place)):
                data = self.read(*place)
                break
        if data is None:
            raise Bad(f"the blob {digest} is missing")
        if hashlib.sha256(data).hexdigest() != bare:
            raise Bad(f"the blob {digest} is not what its name says")
        return data


class Memory(Export):
    """The same, of entries and blobs at hand: its hash tiles are made from the entries."""

    def __init__(self, checkpoint, entries, blobs):
        super().__init__(None)
        self.files = {"checkpoint": checkpoint}
        self.data, self.blobs = entries, blobs

    def read(self, *parts):
        try:
            return self.files["/".join(parts)]
        except KeyError as error:
            raise Bad(f"{'/'.join(parts)}: not there") from error

    def entries(self, size):
        if size > len(self.data):
            raise Bad(f"{len(self.data)} entries, the checkpoint says {size}")
        return iter(self.data[:size])

    def check_upper_tiles(self):
        pass

    def blob(self, digest):
        data = self.blobs.get(digest.split(":", 1)[1])
        if data is None or hashlib.sha256(data).hexdigest() != digest.split(":", 1)[1]:
            raise Bad(f"the blob {digest} is missing or not what its name says")
        return data
