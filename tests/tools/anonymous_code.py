#!/usr/bin/env python3
"""Rewrites an x86-64 ELF program so that the dynamic loader builds its code in anonymous memory.

  anonymous_code.py PROGRAM OUTPUT

The executable segments of the output contain no bytes of the file. The loader maps them as writable and executable zero
pages, and then writes the code there as the results of relocations (R_X86_64_SIZE64, whose result is the addend). So
the code of the program never comes from an executable mapping of a file. Tests use the output to attack the sandbox.
"""
import struct
import sys

LOAD, DYNAMIC, NOTE, PROPERTY = 1, 2, 4, 0x6474E553
DT_RELA, DT_RELASZ = 7, 8
R_X86_64_SIZE64 = 33
PAGE = 4096

elf = bytearray(open(sys.argv[1], "rb").read())
table_at, count = struct.unpack_from("<Q", elf, 32)[0], struct.unpack_from("<H", elf, 56)[0]
# Fields of a program header: type, flags, offset, vaddr, paddr, filesz, memsz, align.
headers = [list(struct.unpack_from("<IIQQQQQQ", elf, table_at + 56 * at)) for at in range(count)]
dynamic = next(header for header in headers if header[0] == DYNAMIC)
entries = [list(struct.unpack_from("<qQ", elf, dynamic[2] + 16 * at)) for at in range(dynamic[5] // 16)]
tags = {tag: value for tag, value in entries}


def file_offset(address):
    holder = next(one for one in headers if one[0] == LOAD and one[3] <= address < one[3] + one[5])
    return holder[2] + address - holder[3]


old = bytes(elf[file_offset(tags[DT_RELA]) :][: tags[DT_RELASZ]])
relocations = b""
for header in headers:
    if header[0] == LOAD and header[1] & 1:
        code = bytes(elf[header[2] :][: header[5]])
        code += b"\0" * (-len(code) % 8)
        for at in range(0, len(code), 8):
            addend = struct.unpack_from("<q", code, at)[0]
            relocations += struct.pack("<QQq", header[3] + at, R_X86_64_SIZE64, addend)
        header[1], header[5] = 7, 0
table = old + relocations
end = max(header[3] + header[6] for header in headers if header[0] == LOAD)
address = -(-end // PAGE) * PAGE
elf += b"\0" * (-len(elf) % PAGE)
offset = len(elf)
elf += table
for entry in entries:
    entry[1] = {DT_RELA: address, DT_RELASZ: len(table)}.get(entry[0], entry[1])
for at, entry in enumerate(entries):
    struct.pack_into("<qQ", elf, dynamic[2] + 16 * at, *entry)
# A note that the loader does not need becomes the segment of the new relocations.
spare = next(header for header in headers if header[0] in (NOTE, PROPERTY))
spare[:] = [LOAD, 6, offset, address, address, len(table), len(table), PAGE]
for at, header in enumerate(headers):
    struct.pack_into("<IIQQQQQQ", elf, table_at + 56 * at, *header)
open(sys.argv[2], "wb").write(elf)
