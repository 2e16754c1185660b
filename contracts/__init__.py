"""What crosses a process boundary, and the law that folds it.

Pure: no input or output, no clock, no settings. Times are integers, milliseconds since the Unix epoch (UTC).
"""
