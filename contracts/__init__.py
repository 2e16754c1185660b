"""Everything that crosses a process boundary, and the fold that turns events into profiles.

Pure: no input or output, no clock, no settings. Times are integers, milliseconds since the Unix epoch (UTC).
"""
