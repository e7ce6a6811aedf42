"""Runs a program under Landlock and nothing else: what the suite of escapes is compared with.

    landlock_alone.py WRITABLE… -- PROGRAM ARGUMENT…

Reads and executes the system directories, reads and writes the named ones. Every right and scope of the kernel's ABI is handled.
"""

import ctypes
import os
import struct
import sys

CREATE, ADD, RESTRICT = 444, 445, 446
FILE_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}
READ = 1 << 0 | 1 << 2 | 1 << 3  # execute, read a file, read a directory
ON_FILES = 1 << 0 | 1 << 1 | 1 << 2 | 1 << 14 | 1 << 15

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long


def call(number, *arguments):
    result = libc.syscall(number, *arguments)
    if result < 0:
        sys.exit(f"landlock_alone: call {number}: {os.strerror(ctypes.get_errno())}")
    return result


def main():
    at = sys.argv.index("--")
    writable, program = sys.argv[1:at], sys.argv[at + 1 :]
    abi = call(CREATE, None, ctypes.c_size_t(0), 1)
    every = (1 << FILE_RIGHTS.get(abi, 16)) - 1
    attributes = struct.pack("QQQ", every, 3 if abi >= 4 else 0, 3 if abi >= 6 else 0)
    size = 24 if abi >= 6 else 16 if abi >= 4 else 8
    ruleset = call(CREATE, attributes[:size], ctypes.c_size_t(size), 0)
    system = ["/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc", "/dev/zero", "/dev/null", "/dev/urandom"]
    for path in system + writable:
        if not os.path.exists(path):
            continue
        wanted = every if path in writable or path.startswith("/dev") else READ
        if not os.path.isdir(path):
            wanted &= ON_FILES
        opened = os.open(path, os.O_PATH | os.O_CLOEXEC)
        call(ADD, ruleset, 1, struct.pack("=Qi", wanted & every, opened), 0)
    if libc.prctl(38, 1, 0, 0, 0) != 0:
        sys.exit("landlock_alone: no_new_privs is refused")
    call(RESTRICT, ruleset, 0)
    os.execvp(program[0], program)


main()
