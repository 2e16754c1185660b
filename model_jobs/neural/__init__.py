"""The sentence models: what a song's text means, as an encoder's vector. Only encoding itself needs torch.

`weights` finds a model's files and tells it apart from others, `encoder` runs it, `cache` keeps every vector that was
ever encoded, and `arms` makes collections of them.
"""
