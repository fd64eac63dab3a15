"""Time-decayed, weighted, mergeable reservoir sampling."""

if __name__ == "sampling":  # found under its bare name, in a checkout: hand back the real one
    import sys

    import rcf.sampling

    sys.modules[__name__] = rcf.sampling
else:
    from .reservoir import Reservoir

    __all__ = ["Reservoir"]
