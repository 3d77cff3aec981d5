"""The errors of the package: one family, each message names the thing, the reason and the way out.

The command line turns a `MonaiLungError` into one line on stderr and exit code 1, a `UsageError` into exit code 2.
"""


class MonaiLungError(Exception):
    """Base of everything that the package raises on purpose."""


class UsageError(MonaiLungError):
    """The call itself is wrong: a path that is not there, options that exclude each other."""


class InputError(MonaiLungError):
    """The input can't be analysed as it is."""


class NoSeriesError(InputError):
    """No readable image series where one was expected."""


class NotCTError(InputError):
    """The image is not a CT in Hounsfield units: another modality, a derived object, an implausible range."""


class GeometryError(InputError):
    """The slices don't form one regular volume: gaps, mixed orientation, changing spacing."""


class DecodeError(InputError):
    """Pixel data or a header can't be decoded: truncated, an unknown transfer syntax, a missing decoder."""


class DamagedSlicesError(DecodeError):
    """Some slices of a series can't be decoded; `slices` are their places in the order in which they were asked for."""

    def __init__(self, message: str, slices: tuple[int, ...]) -> None:
        super().__init__(message)
        self.slices = slices


class LungsNotFoundError(InputError):
    """Less than 200 ml of lung in the image."""


class MaskError(InputError):
    """A mask that doesn't fit the CT which it is said to belong to."""


class PriorError(InputError):
    """The earlier examination can't be compared with this one."""


class OutputError(MonaiLungError):
    """A result can't be written: read-only, no space left."""


class OutOfMemoryError(MonaiLungError):
    """The machine has too little memory for this input."""


class WeightsError(MonaiLungError):
    """Network weights are missing, damaged, or belong to another network."""


class ConfigError(MonaiLungError):
    """A configuration has an unknown key, a wrong value, or asks for code that isn't trusted."""


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out: Python's and numpy's, or torch's on a CPU or a GPU."""
    text = str(error) if isinstance(error, RuntimeError) else ""
    return isinstance(error, MemoryError) or "can't allocate memory" in text or "out of memory" in text
