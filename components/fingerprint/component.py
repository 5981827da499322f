"""Recordings -> a string that changes with them."""

from components.base import component


@component
def fingerprint(data: str, machines: list[str], only: str = "") -> str:
    """Return a string for the cache keys of the cached steps, in place of the recordings.

    Never cached itself: its own key would hold the path of the recordings, which stays when they change.

    Args:
        data: URL of the place with one folder per machine type.
        machines: The machine types of this run; none where ``only`` names one.
        only: The one machine to hash, inside a loop over machines.

    Returns:
        Changes when a file of these machines comes, goes or changes its bytes.
    """
    from components.step import step

    with step("fingerprint", only or "the fleet"):
        from masd.data import data_sets
        from masd.data.machine_name import check_machine_name

        return data_sets.fingerprint(data, [check_machine_name(name) for name in ([only] if only else machines)])
