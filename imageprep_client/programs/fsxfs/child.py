"""Prints what `reader` asks for: ``child.py DIRECTORY IMAGE COMMAND INODE``.

It runs within limits and imports nothing but the library, which is in
DIRECTORY.
"""

import sys

_CHUNK = 1024 * 1024


def main(directory: str, image: str, command: str, number: str) -> int:
    """Print a directory, the target of a link or the content of a file."""
    sys.path.insert(0, directory)
    import pyfsxfs

    volume = pyfsxfs.open(image)
    if number == "root":
        entry = volume.root_directory
    else:
        entry = volume.get_file_entry_by_inode(int(number))
    if entry is None:
        raise OSError(f"no inode {number}")
    output = sys.stdout.buffer
    if command == "list":
        for child in entry.sub_file_entries:
            name = child.name.encode(errors="surrogateescape")
            fields = (child.inode_number, child.file_mode, child.size)
            output.write(b"%d %d %d " % fields + name + b"\0")
    elif command == "link":
        output.write(
            entry.symbolic_link_target.encode(errors="surrogateescape")
        )
    else:
        while data := entry.read(_CHUNK):
            output.write(data)
    output.flush()
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(*sys.argv[1:]))
    except (OSError, ValueError, MemoryError) as error:
        # The library's messages are long traces of its own functions.
        sys.exit(str(error)[:200])
