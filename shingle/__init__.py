"""Shingles: windows of consecutive records, used as points."""

if __name__ == "shingle":  # imported by its bare name in a checkout: return the real package
    import sys

    import rcf.shingle

    sys.modules[__name__] = rcf.shingle
else:
    from .shingler import Shingler, shingle, unshingle

    __all__ = ["Shingler", "shingle", "unshingle"]
