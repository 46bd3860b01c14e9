"""What ends a command early."""


class UsageError(ValueError):
    """Something that the user can put right; the message says what and how. Exit code 2."""


class ContractBroken(Exception):
    """The command did its work and found that a file does not keep the contract. Exit code 1."""
