"""Reads event files without TensorBoard: framing, checksums and the few fields that the program writes."""
import struct


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def check(data, masked):
    crc = crc32c(data)
    want = ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
    if want != masked:
        raise ValueError(f"checksum {masked:08x}, wanted {want:08x}")


def records(data):
    """The records of a file; what a killed process left unfinished at the end is not one."""
    at = 0
    while at + 12 <= len(data):
        length, crc = struct.unpack_from("<QI", data, at)
        check(data[at : at + 8], crc)
        end = at + 12 + length
        if end + 4 > len(data):
            return
        check(data[at + 12 : end], *struct.unpack_from("<I", data, end))
        yield data[at + 12 : end]
        at = end + 4


def varint(data, at):
    value, shift = 0, 0
    while True:
        value |= (data[at] & 0x7F) << shift
        shift += 7
        at += 1
        if data[at - 1] < 0x80:
            return value, at


def fields(data):
    """(number, value) of a message: an integer, or the bytes of a fixed or length-delimited field."""
    at = 0
    while at < len(data):
        key, at = varint(data, at)
        kind = key & 7
        if kind == 0:
            value, at = varint(data, at)
        else:
            length, at = varint(data, at) if kind == 2 else ({1: 8, 5: 4}[kind], at)
            value, at = data[at : at + length], at + length
        yield key >> 3, value


def scalars(directory):
    """{tag: [(step, value), ...]} as TensorBoard shows a run: a session's start drops all from its step on."""
    shown = {}
    for path in sorted(directory.glob("*tfevents*")):
        for record in records(path.read_bytes()):
            event = dict(fields(record))
            step = event.get(2, 0)
            if 7 in event:
                shown = {tag: [point for point in points if point[0] < step] for tag, points in shown.items()}
            for _, value in fields(event.get(5, b"")):
                value = dict(fields(value))
                shown.setdefault(value[1].decode(), []).append((step, *struct.unpack("<f", value[2])))
    return {tag: points for tag, points in shown.items() if points}
