"""Shingles: windows of consecutive records as points."""

if __name__ == "shingle":  # found under its bare name, in a checkout: hand back the real one
    import sys

    import rcf.shingle

    sys.modules[__name__] = rcf.shingle
else:
    from .shingler import Shingler, shingle, unshingle

    __all__ = ["Shingler", "shingle", "unshingle"]
