"""Time-decayed, weighted, mergeable reservoir sampling."""

if __name__ == "sampling":  # imported by its bare name in a checkout: return the real package
    import sys

    import rcf.sampling

    sys.modules[__name__] = rcf.sampling
else:
    from .reservoir import Reservoir

    __all__ = ["Reservoir"]
