"""What can go wrong, in words a user can act on: what is wrong, with which object, by how much, what to do now."""


class RegistrationError(Exception):
    """Base of every error this package raises on purpose; its message is shown to the user as it is."""


class InputError(RegistrationError):
    """A file, image, transform or set of points that cannot be used; the message names it and the cure."""


class SettingsError(RegistrationError):
    """A setting outside its range or of the wrong kind; the message names it and what is allowed."""


class GeometryError(RegistrationError):
    """Images or points that cannot be brought together in space."""


class WeightsError(RegistrationError):
    """A weights file that is missing, damaged or made for another network."""


class MissingPackage(RegistrationError):
    """An optional Python package that is not installed; the message says how to get it."""


class DeviceError(RegistrationError):
    """A compute device that does not exist or has too little memory."""


class Cancelled(RegistrationError):
    """The user asked to stop; nothing was changed."""

    def __init__(self) -> None:
        super().__init__("Registration was cancelled; nothing was changed.")
