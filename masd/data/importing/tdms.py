"""LabVIEW's TDMS, read with npTDMS, which applies the scaling of the channels."""

from pathlib import Path

import numpy as np

from masd.data.importing.channel import Channel, check_size, facts


def read_tdms(path: Path) -> list[Channel]:
    """Read every numeric channel. A channel without ``wf_increment`` has no rate.

    The name is ``group-channel``, or only that of the channel if the file has one group.
    """
    from nptdms import TdmsFile

    with TdmsFile.open(path) as file:
        groups = file.groups()
        found = [(group, channel) for group in groups for channel in group.channels()]
        numeric = [(group, channel) for group, channel in found if channel.dtype.kind in "fiu" and len(channel)]
        check_size(len(numeric), sum(len(channel) for _, channel in numeric))
        return [
            Channel(
                name=channel.name if len(groups) == 1 else f"{group.name}-{channel.name}",
                samples=np.asarray(channel[:]).astype(np.float32),
                rate_hz=_rate(channel.properties.get("wf_increment")),
                unit=str(channel.properties.get("unit_string") or "") or None,
                scaling=_scaling(channel.properties),
                attributes=facts({**file.properties, **group.properties, **channel.properties}),
            )
            for group, channel in numeric
        ]


def _rate(increment: object) -> float | None:
    return 1.0 / float(increment) if isinstance(increment, int | float | np.number) and float(increment) > 0 else None


def _scaling(properties: "dict[str, object]") -> str:
    scaled = str(properties.get("NI_Number_Of_Scales", "0")) not in ("", "0")
    return "the channel's own NI_Scale properties were applied" if scaled else "none"
