"""Messages of protocol buffers in untrusted files, without a description of their fields."""

from __future__ import annotations

from typing import Generic, TypeVar

# A part of a memoryview is another view, and no copy.
Data = TypeVar("Data", bytes, memoryview)


class Message(Generic[Data]):
    """A message's fields by number: of several numbers the last, as the format's rules say; of parts all.

    Args:
        data: Bytes of the message.

    Raises:
        ValueError: The bytes are damaged; the message goes on from "it is damaged".
    """

    def __init__(self, data: Data) -> None:
        self.numbers: dict[int, int] = {}
        self.parts: dict[int, list[Data]] = {}
        cursor = Cursor(data)
        while cursor.has_more():
            field, kind = divmod(cursor.varint(), 8)
            if kind == 0:
                self.numbers[field] = cursor.varint()
            elif kind == 2:
                self.parts.setdefault(field, []).append(cursor.take(cursor.varint()))
            elif kind in (1, 5):
                self.numbers[field] = int.from_bytes(cursor.take(8 if kind == 1 else 4), "little")
            else:
                raise ValueError(f"it is damaged: an entry has a field of the unknown kind {kind}")

    def messages(self, field: int) -> list[Message[Data]]:
        """Return the messages in a field, in order."""
        return [Message(part) for part in self.parts.get(field, [])]

    def texts(self, field: int) -> list[str]:
        """Return the texts in a field, in order."""
        return [bytes(part).decode(errors="replace") for part in self.parts.get(field, [])]


class Cursor(Generic[Data]):
    """A reader of consecutive bytes, never past their end."""

    def __init__(self, data: Data) -> None:
        self._data: Data = data
        self._at = 0

    def has_more(self) -> bool:
        return self._at < len(self._data)

    def take(self, size: int) -> Data:
        if size > len(self._data) - self._at:
            raise ValueError("it is damaged: an entry runs past its end")
        self._at += size
        part: Data = self._data[self._at - size : self._at]
        return part

    def varint(self) -> int:
        """Return a number of up to 64 bits, 7 in a byte, whose highest bit says that another byte follows."""
        value = 0
        for shift in range(0, 70, 7):
            byte = self.take(1)[0]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
        raise ValueError("it is damaged: it holds a number of more than 64 bits")
