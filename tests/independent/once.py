"""Values that a log may use only once: nonces, authorizations, proposals. From `formats-bundles.md`, section 21."""

from array import array
from heapq import merge

from wire import sha256

CHUNK = 1 << 20


class Once:
    """Eight bytes of a hash for each value, so that 10 million runs need 240 MB. Two equal hashes prove nothing yet."""

    def __init__(self):
        self.full, self.newest = [], array("Q")

    def add(self, kind, value):
        self.newest.append(hash_of(kind, value))
        if len(self.newest) == CHUNK:
            self.sort()

    def sort(self):
        self.full.append(array("Q", sorted(self.newest)))
        self.newest = array("Q")

    def twice(self):
        """The hashes that were added more than once."""
        self.sort()
        found, last = set(), None
        for one in merge(*self.full):
            if one == last:
                found.add(one)
            last = one
        return found


def hash_of(kind, value):
    return int.from_bytes(sha256(f"{kind} {value}".encode())[:8], "big")
